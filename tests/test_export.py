"""Exported checkpoints cut text and go on as llama.cpp does with the shipped models."""

import asyncio
import json
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llama_server import start
from reference_transformer import ReferenceTransformer

from trim.cli.main import main
from trim.configuration.source import shipped_models
from trim.engines.chat_template import read_chat_template
from trim.errors import InvalidInput
from trim.evaluation.suites import SUITES, generate
from trim.shipped import FOLDER
from trim.shipped.checkpoint import checkpoint_of, halves
from trim.shipped.export import ROLES, export_models
from trim.shipped.gguf_model import read_gguf

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text("ab .,'\n\t\r  019=+-é✓{}\\"),
    st.lists(
        st.sampled_from(
            ["<s>", "</s>", "<unk>", " the", "boxed", "\n\n", " ", "'s", "12", "é", "What", "\x00"]
        )
    ).map("".join),
    st.sampled_from(
        [
            "\n\n".join([problem.question, *problem.steps])
            for suite in SUITES.values()
            for problem in generate(suite, 5, seed=3)
        ]
    ),
)
FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "models"
    export_models(FOLDER, folder)
    return folder


@pytest.fixture(scope="module")
def tokenize():
    server = start("weak", slots=1)

    def ask(text):
        body = {"content": text, "add_special": True, "parse_special": True}
        request = urllib.request.Request(
            f"{server.url}/tokenize",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["tokens"]

    return ask


@given(TEXTS)
@settings(max_examples=400)
@example("  a   b \n\n  c")
@example("x<s>y</s> z<unk>")
def test_text_is_cut_as_llama_cpp_cuts_it(exported, tokenize, text):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the library `tokenizers`")
    cut = tokenizers.Tokenizer.from_file(str(exported / "weak" / "tokenizer.json"))
    ids = cut.encode(text).ids
    assert ids == tokenize(text)
    assert cut.decode(ids[1:], skip_special_tokens=False) == text


@pytest.fixture(scope="module")
def engines():
    models = shipped_models(slots=1, exact=True)
    return {
        "weak": models.weak.engine,
        "strong": models.strong.engine,
        "scorer": models.scorers["prm"].engine,
    }


@pytest.fixture(scope="module")
def networks(exported):
    return {role: ReferenceTransformer(exported / role) for role in ROLES}


@given(TEXTS.filter(lambda text: len(text) < 400), st.sampled_from(ROLES))
@settings(max_examples=25)
def test_the_next_token_has_the_probabilities_of_llama_cpp(networks, engines, tokenize, text, role):
    """Within 0.05 nats, as llama.cpp rounds to 16 bits in between; most differ by 0.005."""
    answer = asyncio.run(engines[role].complete(text, n_predict=1, temperature=0.0, logprobs=20))
    here = networks[role].next_token(tokenize(text))
    there = answer.raw["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    for entry in there:
        assert here[entry["id"]] == pytest.approx(entry["logprob"], abs=0.05)
    assert here.max() == pytest.approx(max(entry["logprob"] for entry in there), abs=0.05)


@given(st.integers(1, 3), st.integers(1, 24), st.integers(0, 2**32 - 1))
def test_wider_heads_attend_as_narrow_ones_do(heads, pairs, seed):
    """Neighbouring pairs that are turned, against halves of a head `factor` times as wide."""
    random = np.random.default_rng(seed)
    size, width, length = 2 * pairs, 6, 5
    factor = -(-32 // size)
    query, key = random.normal(size=(2, heads * size, width))
    x = random.normal(size=(length, width))

    def neighbours(matrix):
        turned = (x @ matrix.T).reshape(length, heads, pairs, 2) @ (1, 1j)
        angle = np.outer(np.arange(length), 10000.0 ** (-np.arange(pairs) / pairs))
        return turned * np.exp(1j * angle)[:, None]

    narrow = np.einsum("ihp,jhp->hij", neighbours(query), neighbours(key).conj()).real
    reference = ReferenceTransformer.__new__(ReferenceTransformer)
    reference.configuration = {"rope_parameters": {"rope_theta": 10000.0}}
    wide = [
        reference.rotate(
            (x @ halves(matrix, heads, factor).T).reshape(length, heads, -1).swapaxes(0, 1)
        )
        for matrix in (query, key)
    ]
    assert wide[0].shape[-1] >= 32
    assert np.allclose(wide[0] @ wide[1].swapaxes(1, 2), narrow, atol=1e-4)


def test_the_template_writes_a_chat_as_plain_text(exported):
    template = read_chat_template(exported / "strong")
    chat = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2\n\n"}]
    assert template.render(chat) == "<s>1 + 1?\n\n2\n\n"


def test_a_head_of_any_size_is_named_in_the_configuration():
    model = read_gguf(FOLDER / "weak.gguf")
    for heads, size in ((1, 64), (2, 32), (4, 32), (8, 32), (16, 32)):
        files = checkpoint_of(replace(model, heads=heads))
        assert json.loads(files["config.json"])["head_dim"] == size


def test_the_command_writes_whole_folders(tmp_path):
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        result = CliRunner().invoke(main, ["export", str(folder)])
        assert result.exit_code == 0, result.output
        assert f"{folder / 'strong'}: 2.6 MB" in result.output
        assert {path.name for path in folder.iterdir()} == set(ROLES)
        for role in ROLES:
            assert {path.name for path in (folder / role).iterdir()} == FILES
        assert [path.name for path in folder.parent.iterdir()] == ["b"]


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "weak").mkdir()
    for path in (tmp_path / "weak" / "mine.txt", tmp_path / "mine.txt"):
        path.write_text("mine")
        result = CliRunner().invoke(main, ["export", str(tmp_path)])
        assert result.exit_code == 2
        assert result.output.count("\n") == 1
        assert "mine.txt" in result.output
        assert path.read_text() == "mine"
        path.unlink()
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InvalidInput, match="a file; name a new folder"):
        export_models(FOLDER, file)
    with pytest.raises(InvalidInput, match="cannot be written"):
        export_models(FOLDER, file / "below")


@pytest.mark.parametrize(
    ("found", "other", "message"),
    [
        (b"gpt-2", b"gpt-3", r"tokenizer: \('gpt2', 'gpt-3'\)"),
        (b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0gemma", "architecture: 'gemma'"),
        (b"blk.2.ffn_up", b"blk.9.ffn_up", "tensor blk.2.ffn_up: None, must be"),
        (b"llama.block_count", b"llama.black_count", "lacks llama.block_count"),
        (b"output_norm", b"output_horn", "only models like the shipped ones"),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path, found, other, message):
    path = tmp_path / "weak.gguf"
    path.write_bytes((FOLDER / "weak.gguf").read_bytes().replace(found, other, 1))
    with pytest.raises(InvalidInput, match=message):
        read_gguf(path)


def test_missing_and_damaged_models_leave_an_older_export_as_it_is(tmp_path):
    models, folder = tmp_path / "models", tmp_path / "out"
    with pytest.raises(InvalidInput, match="no such folder of models"):
        export_models(models, folder)
    models.mkdir()
    whole = {role: (FOLDER / f"{role}.gguf").read_bytes() for role in ROLES}
    for role in ROLES:
        (models / f"{role}.gguf").write_bytes(whole[role])
    export_models(models, folder)
    older = {path: path.read_bytes() for path in folder.rglob("*.*")}
    damaged = [b"", b"GGUF" * 1000, whole["scorer"][:5000], whole["scorer"][:-100]]
    for damage in damaged:
        (models / "scorer.gguf").write_bytes(damage)
        with pytest.raises(InvalidInput, match=r"scorer\.gguf: damaged"):
            export_models(models, folder)
    (models / "scorer.gguf").unlink()
    with pytest.raises(InvalidInput, match="no readable model file"):
        export_models(models, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == older

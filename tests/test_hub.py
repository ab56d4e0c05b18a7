"""Model files from the hub, whose place a hub on loopback takes."""

import functools
import hashlib
import json
import os
import pty
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hub_server import COMMIT, running
from hypothesis import given
from hypothesis import strategies as st
from llama_server import PLAIN_CHAT

from trim.cli.main import main
from trim.configuration.configuration import read_configuration
from trim.configuration.source import open_models
from trim.engines.hub import HubFile
from trim.errors import InvalidInput
from trim.evaluation.suites import CHAIN, generate
from trim.server.page.menu import is_shipped
from trim.shipped import FOLDER

hub_client = pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
constants = pytest.importorskip("huggingface_hub.constants")

ROOT = Path(__file__).parents[1]
LAPTOP = ROOT / "configurations" / "qwen-coder-laptop.yaml"
QUESTION = next(generate(CHAIN, 1, seed=9)).question
FILES = {
    "acme/models-GGUF/weak.gguf": FOLDER / "weak.gguf",
    "acme/models-GGUF/large/q8/strong.gguf": FOLDER / "strong.gguf",
    "acme/models-GGUF/scorer.gguf": FOLDER / "scorer.gguf",
}
HERE = {
    "weak": {"gguf": str(FOLDER / "weak.gguf"), "context": 1024},
    "strong": {"gguf": str(FOLDER / "strong.gguf"), "context": 1024},
    "scorer": {"kind": "label", "gguf": str(FOLDER / "scorer.gguf"), "context": 1024},
    "sampling": {"max_tokens": 96},
    "routing": {"policy": "thr:0.5"},
}
PLACES = {
    "weak": "hf:acme/models-GGUF/weak.gguf",
    "strong": f"hf:acme/models-GGUF@{COMMIT}/large/q8/strong.gguf",
    "scorer": "hf:acme/models-GGUF/scorer.gguf",
}
THERE = {role: {**part, "gguf": PLACES[role]} if role in PLACES else part
         for role, part in HERE.items()}  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the client, which is online."""
    folder = tmp_path / "cache"
    for name, value in {"HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": False}.items():
        monkeypatch.setattr(constants, name, value)
    return folder


def use(url, monkeypatch):
    """What HF_ENDPOINT does when the client is imported."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", url)


@pytest.fixture
def hub(cache, monkeypatch):
    with running(FILES) as server:
        use(server.url, monkeypatch)
        yield server


def write(folder, document):
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_page_of_a_server_knows_models_of_the_hub(tmp_path):
    """The menu of the page was an internal error."""
    assert is_shipped(open_models(None))
    assert not is_shipped(open_models(write(tmp_path, THERE)))


def refused(result, folder):
    """The one line of an error that leaves nothing in a cache."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    # Some versions of the client keep `….incomplete`, and continue it.
    files = (path for path in folder.rglob("blobs/*") if path.is_file())
    assert not [path for path in files if path.suffix != ".incomplete"]
    return result.stderr


parts = st.text("abcXYZ019-_.", min_size=1, max_size=9).filter(lambda part: part.strip("."))


@given(parts, parts, st.none() | parts, st.lists(parts, min_size=1, max_size=4))
def test_a_place_on_the_hub_is_read_as_it_is_written(organization, name, revision, path):
    file = HubFile(f"{organization}/{name}", "/".join(path), revision)
    assert HubFile.parse(str(file)) == file


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:a/b", "hf:a//c", "hf:a/b/", "hf:a/b/../c", "hf:a/b@/c", "hf:a/@main/c", "hf:/a/b/c",
     "hf://a/b/c"],
)  # fmt: skip
def test_another_form_is_refused(tmp_path, text):
    path = write(tmp_path, {**HERE, "weak": {"gguf": text}})
    with pytest.raises(InvalidInput, match=r"weak\.gguf: .*must be hf:ORG/REPO/FILE or hf:ORG/"):
        read_configuration(path, (), {})


def test_a_run_is_the_same_with_files_of_the_hub_and_files_at_hand(tmp_path, hub):
    records = []
    for name, document in {"hub": THERE, "path": HERE}.items():
        path = write(tmp_path, document)
        words = ("-n", 2, "--policy", "weak", "--policy", "thr:0.5", "--exact")
        result = run("eval", "chain", path, *words, "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        record = json.loads((tmp_path / name / "run.json").read_text())
        records.append({key: each for key, each in record.items() if key != "started"})
    assert records[0] == records[1]
    assert records[0]["models"]["weak"] == sha256(FOLDER / "weak.gguf")
    kept = read_configuration(tmp_path / "hub" / "configuration.yaml", (), {})
    assert {role: str(getattr(kept, role).gguf) for role in ("weak", "strong")} == {
        role: PLACES[role] for role in ("weak", "strong")
    }
    # A run goes on with the files from the other place.
    again = run("eval", "chain", path, *words, "--out", tmp_path / "hub")
    assert again.exit_code == 0, again.stderr


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_cached_file_needs_no_hub(tmp_path, cache, monkeypatch):
    path = write(tmp_path, THERE)
    with running(FILES) as server:
        use(server.url, monkeypatch)
        first = run("solve", QUESTION, path, "--json")
        assert first.exit_code == 0, first.stderr
        asked = len(server.requests)
        assert run("solve", QUESTION, path, "--json").exit_code == 0
        assert len(server.requests) == asked
    assert run("solve", QUESTION, path, "--json").exit_code == 0


def test_a_check_fetches_what_it_checks(tmp_path, hub):
    result = run("check", write(tmp_path, THERE))
    assert result.exit_code == 0, result.stderr
    assert {request.rpartition("/")[2] for request in hub.requests} == {
        "weak.gguf", "strong.gguf", "scorer.gguf",
    }  # fmt: skip


def test_init_takes_files_of_the_hub(tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("init", PLACES["weak"], PLACES["strong"], "--scorer", PLACES["scorer"])
    assert result.exit_code == 0, result.stderr
    document = yaml.safe_load((tmp_path / "trim.yaml").read_text())
    assert {role: document[role]["gguf"] for role in PLACES} == PLACES
    assert "weak: 'hf:a': a file on the hub must be" in refused(run(
        "init", "hf:a", "b.gguf", "--out", "other.yaml"), tmp_path / "none")  # fmt: skip


@pytest.mark.parametrize("command", ["check", "solve", "eval", "serve", "collect"])
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("hf:acme/none/weak.gguf", "no such repository, or a private one"),
        ("hf:acme/models-GGUF/none.gguf", "the repository has no such file"),
        ("hf:acme/models-GGUF@v7/weak.gguf", "the repository has no revision 'v7'"),
        ("hf:acme/gated/weak.gguf", "the repository is gated"),
        ("hf:a b/c/d.gguf", "'a b/c' cannot be a repository: ORG and REPO are letters, digits"),
        ("hf:a/b--c/d.gguf", "'a/b--c' cannot be a repository"),
    ],
)
def test_a_file_that_the_hub_does_not_have(tmp_path, hub, cache, command, place, reason):
    hub.gated.add("acme/gated")
    path = write(tmp_path, {**HERE, "weak": {"gguf": place}})
    words = {
        "check": ("check", path),
        "solve": ("solve", QUESTION, path),
        "eval": ("eval", "chain", path, "-n", 2, "--out", tmp_path / "out"),
        "serve": ("serve", path, "--port", 0, "--database", tmp_path / "out"),
        "collect": ("collect", "chain", path, "-n", 2, "--out", tmp_path / "out"),
    }[command]
    error = refused(run(*words), cache)
    assert f"{place}: {reason}" in error
    assert not (tmp_path / "out").exists()


def test_a_hub_that_nobody_reaches(tmp_path, cache, monkeypatch):
    path = write(tmp_path, THERE)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        use(f"http://127.0.0.1:{closed.getsockname()[1]}", monkeypatch)
        error = refused(run("check", path), cache)
    assert f"{PLACES['weak']}: 127.0.0.1 cannot deliver it (ConnectError); try again" in error


def test_a_hub_that_does_not_answer(tmp_path, hub, cache, monkeypatch):
    hub.silent = True
    ask = functools.partial(hub_client.get_hf_file_metadata, timeout=0.2)
    monkeypatch.setattr(hub_client, "get_hf_file_metadata", ask)
    error = refused(run("check", write(tmp_path, THERE)), cache)
    assert "cannot deliver it (ReadTimeout)" in error


def test_a_download_that_breaks_off_leaves_nothing(tmp_path, hub, cache, monkeypatch):
    hub.cut = True
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    error = refused(run("check", write(tmp_path, THERE)), cache)
    assert "cannot deliver it" in error
    hub.cut = False
    assert HubFile.parse(PLACES["weak"]).fetch().read_bytes() == (FOLDER / "weak.gguf").read_bytes()


def test_a_cache_that_cannot_be_written(tmp_path, hub, cache):
    cache.write_text("not a folder")
    error = refused(run("check", write(tmp_path, THERE)), tmp_path / "none")
    assert f"{PLACES['weak']}: cannot be stored in the cache (" in error


@pytest.mark.parametrize(("package", "extra"), [("huggingface_hub", "hub"), ("xllamacpp", "local")])
def test_without_an_extra_nothing_is_downloaded(tmp_path, hub, monkeypatch, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    error = refused(run("check", write(tmp_path, THERE)), tmp_path / "none")
    assert f"{PLACES['weak']}: a model file on the hub needs" in error
    assert f"pip install 'trim-router[{extra}]'" in error
    assert hub.requests == []


def test_offline_only_the_cache_is_asked(tmp_path):
    """The client reads its settings from the environment."""
    path = write(tmp_path, THERE)
    with running(FILES) as server:
        variables = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
        offline = {**variables, "HF_HUB_OFFLINE": "1"}
        ended = trim("solve", QUESTION, path, **offline)
        assert ended.returncode == 2
        assert ended.stderr == (
            f"trim: {PLACES['weak']}: not in the cache, and HF_HUB_OFFLINE is set; unset it or"
            " name another file\n"
        )
        assert server.requests == []
        ended = trim("solve", QUESTION, path, **variables)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert server.requests
        ended = trim("solve", QUESTION, path, **offline)
        assert (ended.returncode, ended.stderr) == (0, "")


TRIM = (sys.executable, "-c", "from trim.cli import main; main()")


def trim(*words, **variables):
    return subprocess.run(
        [*TRIM, *map(str, words)],
        env={**online(), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def online():
    path = os.pathsep.join(filter(None, sys.path))
    return {**{k: v for k, v in os.environ.items() if not k.startswith("HF_")}, "PYTHONPATH": path}


def test_a_terminal_shows_the_progress_of_a_download(tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with running(FILES) as server:
        variables = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "TERM": "xterm"}
        ended = subprocess.run(
            [*TRIM, "solve", QUESTION, str(write(tmp_path, THERE))],
            env={**online(), **variables},
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            timeout=60,
        )
        os.close(theirs)
        shown = b""
        try:
            while more := os.read(ours, 1 << 16):
                shown += more
        except OSError:  # the terminal's other end is closed
            pass
        os.close(ours)
    assert ended.returncode == 0, shown
    for name in (b"weak.gguf", b"strong.gguf", b"scorer.gguf"):
        assert name + b": 100%" in shown


# sha256


def test_a_file_with_the_sha256_that_was_asked_for_is_taken(tmp_path, hub):
    expected = sha256(FOLDER / "weak.gguf")
    for place in (HERE, THERE):
        document = {**HERE, "weak": {**place["weak"], "sha256": expected.upper()}}
        assert run("solve", QUESTION, write(tmp_path, document)).exit_code == 0


@pytest.mark.parametrize("command", ["check", "solve", "eval"])
def test_a_file_with_another_sha256_is_refused(tmp_path, command):
    found, wrong = sha256(FOLDER / "scorer.gguf"), "a" * 64
    path = write(tmp_path, {**HERE, "scorer": {**HERE["scorer"], "sha256": wrong}})
    words = {
        "check": ("check", path),
        "solve": ("solve", QUESTION, path),
        "eval": ("eval", "chain", path, "-n", 2, "--out", tmp_path / "out"),
    }[command]
    error = refused(run(*words), tmp_path / "out")
    assert f"scorer.gguf: sha256 is {found}, not {wrong}; fetch it again, or correct" in error


def test_a_damaged_file_in_the_cache_is_fetched_again_once_it_is_deleted(tmp_path, hub, cache):
    file = HubFile.parse(PLACES["weak"]).fetch()
    blob = file.resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    weak = {**THERE["weak"], "sha256": sha256(FOLDER / "weak.gguf")}
    path = write(tmp_path, {**HERE, "weak": weak})
    result = run("solve", QUESTION, path)
    assert result.exit_code == 2
    assert f"{PLACES['weak']}: sha256 is {sha256(blob)}, not {weak['sha256']}" in result.stderr
    assert f"delete {blob} to fetch it again" in result.stderr
    blob.unlink()
    assert run("solve", QUESTION, path).exit_code == 0


@pytest.mark.parametrize("given", ["abc", "g" * 64, "a" * 63])
def test_a_sha256_is_64_digits(tmp_path, given):
    path = write(tmp_path, {**HERE, "weak": {**HERE["weak"], "sha256": given}})
    with pytest.raises(InvalidInput, match=r"weak\.sha256: .* must be 64 hexadecimal digits"):
        read_configuration(path, (), {})


# The ready-made configuration


def with_template(source, target):
    """A shipped model with a chat template that spells plain text, after a system message."""
    gguf = pytest.importorskip("gguf", reason="the extra `export` is not installed")
    from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    template = MetadataDetails(
        gguf.GGUFValueType.STRING, PLAIN_CHAT.replace("messages %}", "messages[1:] %}", 1)
    )
    copy_with_new_metadata(reader, writer, {gguf.Keys.Tokenizer.CHAT_TEMPLATE: template}, [])
    return target


def test_the_laptop_configuration_works_with_both_places(tmp_path, cache, monkeypatch):
    files = {
        "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf":
            with_template(FOLDER / "weak.gguf", tmp_path / "weak.gguf"),
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf":
            with_template(FOLDER / "strong.gguf", tmp_path / "strong.gguf"),
    }  # fmt: skip
    at_hand = [f"--set={role}.gguf={tmp_path / role}.gguf" for role in ("weak", "strong")]
    words = ("solve", QUESTION, LAPTOP, "--json", "--set", "sampling.temperature=0")
    with running(files) as server:
        use(server.url, monkeypatch)
        first = run(*words, *at_hand)
        assert first.exit_code == 0, first.stderr
        assert server.requests == []
        second = run(*words)
        assert second.exit_code == 0, second.stderr
        assert server.requests
    texts = [
        [step["text"] for step in json.loads(each.stdout)["steps"]] for each in (first, second)
    ]
    assert texts[0] == texts[1]

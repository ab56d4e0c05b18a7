"""Files of every kind that trim reads, damaged at random, and the commands that read them."""

import contextlib
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from trim.cli.main import main
from trim.policies.agg.policy import SHAPES
from trim.policies.ppo.weights import LearnedRouter, PriceRange, write_router
from trim.rollouts.routed import RoutedSolution
from trim.rollouts.routed_store import RoutedStore
from trim.shipped import FOLDER
from trim.types import Action, Usage

SLOWEST = 20.0
"""Seconds that a command on a small damaged file may take on a busy machine."""

NASTY = [
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"9" * 400, b"9" * 5000),
    *(b"9223372036854775808", b"null", b"true", b"{}", b"[]", b'""', b"0.5", b"1.5", b'"x"'),
    *(b'"\\ud800"', b'"\\u0000"', b"\\ud83d", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xc3"),
    *(
        b"\x1b]0;x\x07",
        b"\x1b[2J",
        b"\r\n",
        b"\n",
        b"\xe2\x80\xae",
        b"\xc2\x9b31m",
        b"\xef\xbb\xbf",
    ),
    *(b"&a *a", b"<<: *a", b"!!binary x", b"2020-99-99", b": ", b"- ", b"'", b'"', b",,,,", b"#"),
]
"""Bytes that some parser stumbles over."""
OPENED = (b"[", b"{", b'{"a":', b"[[", b'{"weak":', b"- ", b"(")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        file: the one to be damaged, below a folder with everything that the command needs.
        words: of the command, for such a folder.
        kept: files that a refusal leaves as they are.
    """

    name: str
    file: str
    words: Callable[[Path], list[str]]
    kept: tuple[str, ...] = ()


def policy_words(spec):
    """A command that reads a policy and stops, before it loads a model."""
    return lambda folder: [
        *("solve", "1 + 1?", "--policy", spec.format(folder)),
        *("--models", str(folder / "nowhere"), "--other-models"),
    ]


def problems_words(name):
    return lambda folder: [
        *("eval", str(folder / name), "--question", "q", "--answer", "a", "--id", "id"),
        *("--policy", "nonesuch", "--out", str(folder / "out")),
    ]


def plan_words(folder):
    return [
        *("plan", "--observations", str(folder / "bins.csv"), "--hazard"),
        *(str(folder / "hazard.json"), "--weak-accuracy", "0.8", "--strong-accuracy", "0.9"),
        *("--cost", "-1"),
    ]


def configured(name):
    return lambda folder: [
        *("eval", "chain", str(folder / name), "--cost", "money", "--out", str(folder / "out")),
    ]


def bank_words(folder):
    return ["fit-rival", "classifier", str(folder / "bank"), "--out", str(folder / "new.json")]


RUN = ("run/run.json", "run/traces.jsonl", "run/bill.json")


def run_words(folder):
    return [
        *("eval", "chain", "-n", "2", "--policy", "weak", "--prices", "example", "--max-money"),
        *("1e-9", "--out", str(folder / "run")),
    ]


KINDS = [
    Kind("YAML", "trim.yaml", configured("trim.yaml")),
    Kind("TOML", "trim.toml", configured("trim.toml")),
    Kind("prices", "prices.json", lambda f: [
        "calibrate", str(f / "bank"), "--money", "1", "--prices", str(f / "prices.json"),
        "--out", str(f / "nowhere" / "router.json"),
    ]),
    Kind("hazard", "hazard.json", plan_words),
    Kind("bins", "bins.csv", plan_words),
    Kind("examples", "examples.csv", lambda f: [
        "fit", str(f / "examples.csv"), "--weak-accuracy", "0.5", "--strong-accuracy", "0.9",
        "--hazard", str(f / "hazard.json"), "--tokens", "50", "--out", str(f / "new.json"),
    ]),
    Kind("pomdp", "pomdp.json", lambda f: ["plan", str(f / "pomdp.json"), "--lambda", "-1"]),
    Kind("router", "router.json", policy_words("router:{}/router.json")),
    Kind("fitted router", "fitted.json", policy_words("router:{}/fitted.json")),
    Kind("agg", "agg/agg.json", policy_words("agg:{}/agg")),
    Kind("weights", "agg/agg.safetensors", policy_words("agg:{}/agg")),
    Kind("classifier", "classifier.json", policy_words("classifier:{}/classifier.json")),
    Kind("automix", "automix.json", policy_words("automix:{}/automix.json")),
    Kind("joint", "joint.json", lambda f: [
        "rescore", str(f / "bank"), str(f / "joint.json"), "--out", str(f / "new")
    ]),
    Kind("bank", "bank/bank.json", bank_words, ("bank/bank.json",)),
    Kind("part", "bank/parts/part.parquet", bank_words, ("bank/parts/part.parquet",)),
    Kind("scope", "requests.jsonl", lambda f: [
        "fit-scope", str(f / "requests.jsonl"), "--out", str(f / "new.json")
    ]),
    Kind("routed", "bank/routed/part.parquet", bank_words, ("bank/routed/part.parquet",)),
    Kind("import", "traces.jsonl", lambda f: [
        "import", str(f / "traces.jsonl"), "--out", str(f / "new")
    ]),
    Kind("import gz", "traces.jsonl.gz", lambda f: [
        "import", str(f / "traces.jsonl.gz"), "--out", str(f / "new")
    ]),
    Kind("problems", "problems.jsonl", problems_words("problems.jsonl")),
    Kind("CSV", "problems.csv", problems_words("problems.csv")),
    Kind("Parquet", "problems.parquet", problems_words("problems.parquet")),
    Kind("curve", "summary.json", lambda f: [
        "serve", "--curve", str(f / "summary.json"), "--policy", "weak", "--target-share", "0.5"
    ]),
    Kind("database", "keys.sqlite", lambda f: [
        "keys", "list", "--database", str(f / "keys.sqlite")
    ]),
    Kind("run", "run/run.json", run_words, RUN),
    Kind("traces", "run/traces.jsonl", run_words, RUN),
    Kind("bill", "run/bill.json", run_words, RUN),
]  # fmt: skip
SLOW = ("run", "traces", "bill", "examples")
"""Kinds whose command takes a second where the damage is harmless."""


def make_files(folder: Path) -> None:
    """A valid file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)

    def put(name, value):
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))

    server = {"api": "openai", "url": "http://127.0.0.1:9/v1", "continuation": "prefix"}
    flow = json.dumps({**server, "model": "m", "timeout": 3.5, "concurrency": 4})
    put(
        "trim.yaml",
        f"weak: &a {flow}\nstrong:\n  <<: *a\n  extra_body: {{min_p: 0.1}}\n"
        "scorer: {kind: grade}\nrouting: {policy: 'thr:0.5', max_steps: 8}\n"
        "sampling: {temperature: 0.5, top_k: 3}\nserver:\n  routers:\n"
        "    - {name: fast, policy: 'thr:0.2'}\n  target_share: 0.2\n",
    )
    sections = ("[weak]", "[strong]", "[[intermediate]]")
    pairs = "".join(f'{name} = "{value}"\n' for name, value in {**server, "model": "m"}.items())
    models = "".join(f"{section}\n{pairs}timeout = 3.5\n" for section in sections)
    put("trim.toml", f'{models}[scorer]\nkind = "grade"\n')
    put("prices.json", {"strong": {"prompt": 1, "output": 4}, "intermediate": [{"cached": 0.1}]})
    put("hazard.json", [0, 0, *[0.1] * 28, 1])
    centres = [0.25, 0.75]
    rows = [f"{a},{b},0.25,0.25,0.25" for a in centres for b in centres]
    put("bins.csv", "min_previous_score,current_score,p_S0,p_S1,p_S2\n" + "\n".join(rows) + "\n")
    put("examples.csv", "state,min_previous_score,current_score\n0,1,0.5\n1,0.2,0.5\n2,0.1,0.3\n")
    shutil.copy(FOLDER.parent / "belief.json", folder / "pomdp.json")
    shutil.copy(FOLDER / "joint.json", folder)
    router = {
        "policy": "router", "version": 1, "family": "thr", "setting": 0.5, "target": {"money": 1},
        "confidence": 0.9, "horizon": None, "bound": "x", "figures": {"money": 1.0},
        "scorer": "prm", "models": {"weak": "x"}, "max_strong_tokens": 9,
    }  # fmt: skip
    put("router.json", router)
    sizes = {"inputs": 5}
    tensors = {
        name: np.zeros([s if isinstance(s, int) else sizes.get(s, 4) for s in shape], np.float32)
        for name, shape in SHAPES.items()
    }
    features = ("score", "lowest", "tokens", "step")
    write_router(folder / "agg", LearnedRouter(
        "agg", features, True, PriceRange(0.001, 0.1), (0.1, 0.01), tensors, "prm", {"weak": "x"}
    ))  # fmt: skip
    put("classifier.json", {"policy": "classifier", "thresholds": [0.5], "intercept": 0.1,
        "terms": {"a": [1.0, 0.5]}, "models": {"weak": "x"}, "scorer": "prm"})  # fmt: skip
    put("automix.json", {"policy": "automix", "verdict": "lowest", "edges": [0.5],
        "gains": [0.1, 0.2], "costs": [50.0, 60.0], "scorer": "logprob"})  # fmt: skip
    solution = {"steps": ["a", "b"], "prm_scores": [0.5, 1.0], "step_tokens": [3, 4], "tokens": 7}
    lines = [
        {"id": f"p{n}", "query": f"q {n}?", "answer": "7", "weak": {**solution, "correct": n > 1},
         "strong": {**solution, "correct": True, "answer": "7"}}
        for n in range(4)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    put("traces.jsonl", text)
    (folder / "traces.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    invoke("import", folder / "traces.jsonl", "--out", folder / "bank")
    RoutedStore(folder / "bank").add([RoutedSolution(
        "p0", "token:0.9", None, None, (0.5,), (Action.CONTINUE,), (False,), True,
        {"weak": Usage(1, 0, 1, 1), "strong": Usage(), "scorer": Usage()},
    )])  # fmt: skip
    for inner in ("parts", "routed"):
        (part,) = (folder / "bank" / inner).glob("*.parquet")
        part.rename(part.with_name("part.parquet"))
    problems = [{"id": f"p{n}", "q": f"what is {n}?", "a": n} for n in range(3)]
    put("problems.jsonl", "".join(json.dumps(each) + "\n" for each in problems))
    requests = [{"question": f"{n} + 1?", "reasoning": n % 2 == 0} for n in range(20)]
    put("requests.jsonl", "".join(json.dumps(each) + "\n" for each in requests))
    put("problems.csv", 'id,q,a\np0,"what, is 0?",0\np1,what is 1?,1\n')
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(problems), folder / "problems.parquet")
    shutil.copy(FOLDER.parent / "curve.json", folder / "summary.json")
    invoke("keys", "create", "somebody", "--database", folder / "keys.sqlite")
    invoke("eval", "chain", "-n", "2", "--policy", "weak", "--prices", "example",
           "--out", folder / "run")  # fmt: skip
    record = json.loads((folder / "agg" / "agg.json").read_text())
    digest = hashlib.sha256((folder / "agg" / "agg.json").read_bytes()).hexdigest()
    put("fitted.json", {**router, "family": "agg", "setting": 0.01, "file": "agg",
                        "sha256": digest, "models": record["models"]})  # fmt: skip


def invoke(*words):
    ran = CliRunner().invoke(main, [str(word) for word in words], prog_name="trim")
    assert ran.exit_code == 0, (words, ran.output)


def damage(content: bytes, draw: random.Random) -> bytes:
    """One to three damages."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = draw.choice(DAMAGES)(content, draw)
    return content


def place(content, draw):
    return draw.randrange(len(content) + 1)


def flip(content, draw):
    changed = bytearray(content)
    for _ in range(min(len(changed), draw.choice((1, 1, 4)))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(content, draw):
    return content[: place(content, draw)]


def insert(content, draw):
    at = place(content, draw)
    return content[:at] + draw.choice(NASTY) + content[at:]


def duplicate(content, draw):
    first, last = sorted((place(content, draw), place(content, draw)))
    return content[:last] + content[first:]


def leave_out(content, draw):
    first, last = sorted((place(content, draw), place(content, draw)))
    return content[:first] + content[last:]


def nest(content, draw):
    at, opened = place(content, draw), draw.choice(OPENED)
    return content[:at] + opened * draw.choice((99, 101, 990, 20_000)) + content[at:]


def lengthen(content, draw):
    at = place(content, draw)
    return content[:at] + draw.choice((b"x", b"9", b" ", b"\\", b'"')) * 200_000 + content[at:]


def replace_value(content, draw):
    """Another value in place of a number, a text or a name."""
    found = list(re.finditer(rb'"[^"]*"|-?\d[\d.e-]*|null|true|false', content))
    if not found:
        return insert(content, draw)
    match = draw.choice(found)
    return content[: match.start()] + draw.choice(NASTY) + content[match.end() :]


DAMAGES = (flip, cut, insert, duplicate, leave_out, nest, lengthen, *[replace_value] * 5)


def become_folder(path):
    path.unlink()
    path.mkdir()


def become_pipe(path):
    path.unlink()
    os.mkfifo(path)


def become_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def become_missing(path):
    path.unlink()


def become_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def become_empty(path):
    path.write_bytes(b"")


def become_unreadable(path):
    path.chmod(0)


REPLACEMENTS = (
    *(become_folder, become_pipe, become_device, become_missing, become_loop, become_empty),
    become_unreadable,
)


class Files:
    """Valid files of each kind, of which copies are damaged."""

    def __init__(self, folder: Path) -> None:
        self.valid = folder / "valid"
        self.work = folder / "work"
        make_files(self.valid)

    def check(self, kind: Kind, draw: random.Random) -> None:
        """Damage a file and run its command: a documented exit, one line, nothing lost."""
        if draw.random() < 0.1:
            self.replace(kind, draw.choice(REPLACEMENTS))
            return
        path = self.copy() / kind.file
        path.write_bytes(damage(path.read_bytes(), draw))
        self.run(kind, "damaged", path)

    def replace(self, kind: Kind, how: Callable[[Path], None]) -> None:
        """As `check`, with something else in place of the file."""
        path = self.copy() / kind.file
        how(path)
        self.run(kind, how, path)

    def copy(self) -> Path:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.valid, self.work)
        return self.work

    def run(self, kind: Kind, how: object, path: Path) -> None:
        before = contents(self.work, kind)
        started = time.monotonic()
        ran = CliRunner().invoke(main, kind.words(self.work), prog_name="trim")
        seconds = time.monotonic() - started
        evidence = (kind.name, how, ran.exit_code, ran.stderr[:2000], ran.stdout[:500])
        if ran.exception and not isinstance(ran.exception, SystemExit):
            raise AssertionError(evidence) from ran.exception
        assert ran.exit_code in (0, 2, 3), evidence
        assert seconds < SLOWEST, (seconds, *evidence)
        assert harmless(ran.output), evidence
        if ran.exit_code == 2:
            assert ran.stderr.startswith("trim: ") and ran.stderr.count("\n") == 1, evidence
            assert contents(self.work, kind) == before, evidence


def contents(folder, kind):
    found = {}
    for name in kind.kept:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                found[name] = path.read_bytes()
    return found


def harmless(text):
    return not any(
        (ord(each) < 32 and each not in "\n\t") or 127 <= ord(each) < 160 or each in "\u202e\u2066"
        for each in text
    )

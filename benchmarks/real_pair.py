"""Two real language models on GSM8K, in parts: `make real-pair MODELS=FOLDER DATA=FOLDER`.

python benchmarks/real_pair.py MODELS DATA OUT [PARTS]

MODELS holds qwen2.5-coder-0.5b-instruct-q4_k_m.gguf and the same of 1.5b, from the official
repositories of Qwen2.5-Coder; DATA the benchmark's file. Each part solves ten problems with every
policy. An interrupted command continues, and more PARTS continue an earlier run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from below_the_step import COLUMNS, METRICS, curve_rows, point_row, print_table

from trim.costs import Prices
from trim.evaluation.summary import group_by_policy, summarise
from trim.files import write_atomically
from trim.types import Trace

SIZE = 10
"""Problems of a part."""
SEED = 16
CONFIGURATION = Path(__file__).with_name("qwen_coder.yaml")
WEAK, STRONG = (f"qwen2.5-coder-{size}-instruct-q4_k_m.gguf" for size in ("0.5b", "1.5b"))
POLICIES = (
    *("weak", "strong", "thr:0.8,0.85,0.9", "token:0.3,0.5", "token:0.3,0.4:8", "clause:0.4"),
    *("tail:0.3", "thr:0.85+tail:0.5"),
)


def solve(models: Path, data: Path, out: Path, part: int) -> None:
    """Solve one part, or what is missing of it."""
    command = [
        *(str(Path(sys.executable).with_name("trim")), "eval", "gsm8k", str(CONFIGURATION)),
        *("--data", str(data), "-n", str(SIZE), "--skip", str(part * SIZE), "--seed", str(SEED)),
        *(word for policy in POLICIES for word in ("--policy", policy)),
        *("--set", f"weak.gguf={models / WEAK}", "--set", f"strong.gguf={models / STRONG}"),
        *("--prices", "example", "--out", str(out / f"part-{part:02}")),
    ]
    subprocess.run(command, check=True)


def read(folder: Path) -> list[Trace]:
    lines = (folder / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    return [Trace.from_json(json.loads(line)) for line in lines]


def report(out: Path, parts: Sequence[int]) -> None:
    """Write and print the summary of all parts."""
    traces = [trace for part in parts for trace in read(out / f"part-{part:02}")]
    problems = list(dict.fromkeys(trace.problem_id or "" for trace in traces))
    summary = summarise("gsm8k", SEED, group_by_policy(traces, problems), Prices())
    write_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(f"\n{len(problems)} problems of GSM8K\n")
    print_table(METRICS, list(curve_rows(summary)))
    print()
    print_table(COLUMNS[:4], [point_row(point)[:4] for point in summary["points"]])


def main() -> None:
    models, data, out = map(Path, sys.argv[1:4])
    parts = range(int(sys.argv[4]) if len(sys.argv) > 4 else 15)
    for part in parts:
        solve(models, data, out, part)
        report(out, range(part + 1))


if __name__ == "__main__":
    main()

"""The curve that a server comes with: `python benchmarks/curve.py SUMMARY.json CURVE.json`.

Keeps of a summary of `trim eval` what `trim serve` reads: weak and strong alone, and thresholds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

POLICIES = ("weak", "strong", "thr")
FIELDS = ("policy", "setting", "accuracy", "strong_share", "money_mean")


def main(summary: Path, curve: Path) -> None:
    record = json.loads(summary.read_text(encoding="utf-8"))
    points = [
        {name: point[name] for name in FIELDS}
        for point in record["points"]
        if point["policy"] in POLICIES
    ]
    kept = {**{name: record[name] for name in ("suite", "n", "seed")}, "points": points}
    curve.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

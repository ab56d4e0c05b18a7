"""A configuration as text, with a word about each part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from trim.checks.separation import Separation

HEAD = """\
# Written by `trim init`. Every setting: docs/configuration.md.
#
#   trim check {name}
#   trim solve "What is 17 * 23?" {name}
"""


def configuration_text(document: dict[str, Any], separation: Separation | None, name: str) -> str:
    """The document in YAML.

    Args:
        separation: how well the scorer told right steps from wrong ones; None where it was not
            found out.
        name: of the file.
    """
    comments = {
        "weak": "Drafts each step.",
        "strong": "Rewrites the steps that are doubted.",
        "scorer": scorer_comment(separation),
        "routing": "Steps with a score below this are rewritten: more of them at a higher one.\n"
        "`trim eval` compares several, `trim calibrate` finds one for a budget.",
        "sampling": "A step is no longer than this, since the models' context is short.",
    }
    parts = [HEAD.format(name=Path(name).name)]
    for part, content in document.items():
        lines = "".join(f"# {line}\n" for line in comments[part].splitlines())
        parts.append(lines + dumped({part: content}))
    return "\n".join(parts)


def scorer_comment(separation: Separation | None) -> str:
    if separation is None or separation.auc is None:
        return "Scores each step."
    right, wrong = separation.means
    return (
        f"Scores each step. On small problems right steps had {right:.2f} on average, wrong ones"
        f" {wrong:.2f},\nand in {separation.auc:.2f} of the pairs the right one had more."
    )


def dumped(part: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=1000)
    return text

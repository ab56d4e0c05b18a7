"""Texts of models, files and servers on a terminal: nothing in them controls it."""

from __future__ import annotations

import re

CONTROLS = r"\x00-\x1f\x7f-\x9f"
"""C0 and C1: among them the escapes that colour, move, retitle, and fill the clipboard."""
ORDERING = "\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides and isolates, which show a text in another order than it has."""
LINES = "\u2028\u2029"
HALVES = "\ud800-\udfff"
"""Halves of surrogate pairs, which no encoding takes."""

ANY = re.compile(f"[{CONTROLS}{ORDERING}{LINES}{HALVES}]")
BUT_LINES = re.compile(f"(?![\n\t])[{CONTROLS}{ORDERING}{LINES}{HALVES}]")


def printable(text: str) -> str:
    r"""The text with every control character shown as its escape, such as `\x1b`.

    Line ends and tabs are kept.
    """
    return BUT_LINES.sub(escape, text)


def one_line(text: str) -> str:
    r"""As `printable`, with line ends and tabs shown as `\n` and `\t`."""
    return ANY.sub(escape, text)


def escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")

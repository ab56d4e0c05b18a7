"""Stop strings, in a text that comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class Stopping:
    """Lets a text through until one of the stop strings begins: the one that is complete first.

    What may be the beginning of one is held back until the next piece tells.

    Attributes:
        stopped: whether one was met; nothing is let through after it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.stopped = False
        self._held = ""

    def let(self, piece: str) -> str:
        """What of the text so far may be shown now."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self.stops]
        met = [(end, place) for end, place in found if place >= 0]
        if met:
            self.stopped, self._held = True, ""
            return text[: min(met)[1]]
        held = max((overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)

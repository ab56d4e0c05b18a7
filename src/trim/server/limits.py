"""What a server takes at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Each with the status that answers what is beyond.

    Attributes:
        body: bytes of a request (413).
        upload: seconds in which the head of a request must have come (or the connection ends),
            and after it the body (408).
        stalled: seconds in which a client must take what waits for it (or the connection ends).
        prompt: characters of all messages together (400).
        running: solutions under way together; the others wait in the queue.
        queue: solutions that wait (503 beyond, with Retry-After).
        seconds: for one answer, waiting included; a request may ask for less.
        shutdown: seconds in which answers under way may be finished when the server stops.
    """

    body: int = 1_000_000
    upload: float = 30.0
    stalled: float = 60.0
    prompt: int = 100_000
    running: int = 64
    queue: int = 512
    seconds: float = 600.0
    shutdown: float = 30.0

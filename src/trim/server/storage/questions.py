"""Questions of kept traffic."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.storage.keys import id_of
from trim.server.storage.tables import requests

FAILED = "failed"
"""How a request ends that has no answer."""


@dataclass(frozen=True)
class KeptQuestion:
    """A question that was asked by itself, once or more often.

    Attributes:
        requests: ids of the requests that asked it.
    """

    question: str
    requests: tuple[str, ...]


@dataclass(frozen=True)
class KeptQuestions:
    """Questions in the order in which they were first asked.

    Attributes:
        conversations: requests with messages before the question, which is not whole without
            them, or of which that is not known.
        failed: requests that were not answered.
        without_text: requests of which no text was kept.
    """

    questions: tuple[KeptQuestion, ...]
    conversations: int = 0
    failed: int = 0
    without_text: int = 0


async def kept_questions(
    engine: AsyncEngine, since: float = 0.0, key: str | None = None
) -> KeptQuestions:
    """What was asked from a moment on.

    Args:
        since: seconds since 1970.
        key: name of the key whose requests are meant; those of all where None.

    Raises:
        InvalidInput: there never was such a key.
    """
    query = (
        select(requests.c.id, requests.c.question, requests.c.turns, requests.c.finish)
        .where(requests.c.created >= since)
        .order_by(requests.c.created, requests.c.id)
    )
    asked: dict[str, list[str]] = {}
    conversations = failed = without_text = 0
    async with engine.connect() as connection:
        if key is not None:
            query = query.where(requests.c.key_id == await id_of(connection, key))
        for row in await connection.execute(query):
            if row.question is None:
                without_text += 1
            elif row.turns != 0:
                conversations += 1
            elif row.finish == FAILED:
                failed += 1
            else:
                asked.setdefault(row.question, []).append(row.id)
    questions = (KeptQuestion(question, tuple(ids)) for question, ids in asked.items())
    return KeptQuestions(tuple(questions), conversations, failed, without_text)

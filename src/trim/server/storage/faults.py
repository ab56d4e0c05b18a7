"""What a database raises that cannot be used now, and what is told then."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from trim.server.failure import Failure

FAULTS = (SQLAlchemyError, sqlite3.Error, OSError)
"""SQLAlchemy's, those of SQLite's driver where it is asked itself, and those of the network."""

LOG = logging.getLogger(__name__)


def no_database() -> Failure:
    return Failure(
        503,
        "the server's database cannot be used now; ask again later",
        "server_error",
        "database_unavailable",
        retry_after=5,
    )


@contextmanager
def faults_told() -> Iterator[None]:
    """Raises Failure (503) where the database cannot be used."""
    try:
        yield
    except FAULTS as error:
        LOG.warning("the database cannot be used", exc_info=error)
        raise no_database() from error

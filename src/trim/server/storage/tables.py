"""The tables, as the migrations create them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
)

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("prefix", String(16), nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("money_a_day", Float),
    Column("strong_tokens_a_day", BigInteger),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
    Column("operator", Boolean, nullable=False, server_default=false()),
)
"""The keys of operators may see the traffic of all keys."""

requests = Table(
    "requests",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("key_id", Integer, ForeignKey("keys.id"), index=True),
    Column("created", Float, nullable=False, index=True),
    Column("seconds", Float, nullable=False),
    Column("model", String(200), nullable=False),
    Column("policy", String(200), nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("finish", String(20), nullable=False),
    Column("strong_tokens", BigInteger, nullable=False),
    Column("middle_tokens", BigInteger, nullable=False),
    Column("weak_tokens", BigInteger, nullable=False),
    Column("discarded_tokens", BigInteger, nullable=False),
    Column("scorer_tokens", BigInteger, nullable=False),
    Column("money", Float, nullable=False),
    Column("failure", Text),
    Column("question", Text),
    Column("answer", Text),
    Column("turns", Integer),
    Column("controlled", Boolean, nullable=False, server_default=false()),
    Column("scorer", String(200)),
)
"""`finish` is that of the first solution, `abandoned` if the client disconnected; `question` and
`answer` are null unless texts are kept; `turns` counts the messages before the question, null where
unknown; `controlled` says whether the controller of the strong share chose the setting;
`scorer` is the name of the one that was asked."""

steps = Table(
    "steps",
    metadata,
    Column("request_id", String(64), ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    Column("choice", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("author", String(20), nullable=False),
    Column("action", String(12), nullable=False),
    Column("score", Float),
    Column("tokens", BigInteger, nullable=False),
    Column("draft_tokens", BigInteger, nullable=False),
    Column("strong_tokens", BigInteger, nullable=False),
    Column("fallback", String(20)),
    Column("text", Text),
    Column("draft", Text),
    Index("steps_of_request", "request_id", "choice", "number", unique=True),
)
"""`score` is that of the weak model's draft, as `draft` is its text."""

spending = Table(
    "spending",
    metadata,
    Column("key_id", Integer, ForeignKey("keys.id"), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("money", Float, nullable=False),
    Column("strong_tokens", BigInteger, nullable=False),
)
"""One row for each key and day (UTC, as 2026-01-31)."""

servers = Table(
    "servers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("seen", Float, nullable=False),
)
"""The processes that serve from this database; `seen` is their last sign of life, in seconds since
1970."""

reservations = Table(
    "reservations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("key_id", Integer, ForeignKey("keys.id"), nullable=False, index=True),
    Column("server_id", String(32), nullable=False),
    Column("ends", Float, nullable=False),
    Column("money", Float, nullable=False),
    Column("strong_tokens", BigInteger, nullable=False),
)
"""What running requests may spend. A row counts until it is settled, `ends` has passed or its
server is gone."""

"""Reservations of running requests, servers, and columns that hold any count and author."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

COUNTS = {
    "keys": ("strong_tokens_a_day",),
    "requests": (
        *("strong_tokens", "middle_tokens", "weak_tokens", "discarded_tokens", "scorer_tokens"),
    ),
    "steps": ("tokens", "draft_tokens", "strong_tokens"),
    "spending": ("strong_tokens",),
}


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("seen", sa.Float, nullable=False),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("key_id", sa.Integer, sa.ForeignKey("keys.id"), nullable=False, index=True),
        sa.Column("server_id", sa.String(32), nullable=False),
        sa.Column("ends", sa.Float, nullable=False),
        sa.Column("money", sa.Float, nullable=False),
        sa.Column("strong_tokens", sa.BigInteger, nullable=False),
    )
    # SQLite's columns have no size.
    if op.get_bind().dialect.name == "postgresql":
        for table, names in COUNTS.items():
            for name in names:
                op.alter_column(table, name, type_=sa.BigInteger)
        for name in ("author", "fallback"):
            op.alter_column("steps", name, type_=sa.String(20))


def downgrade() -> None:
    for table in ("reservations", "servers"):
        op.drop_table(table)

"""Keys, requests, steps and spending."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(100), nullable=False, unique=True),
        sa.Column("prefix", sa.String(16), nullable=False, unique=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("money_a_day", sa.Float),
        sa.Column("strong_tokens_a_day", sa.Integer),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("key_id", sa.Integer, sa.ForeignKey("keys.id"), index=True),
        sa.Column("created", sa.Float, nullable=False, index=True),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("policy", sa.String(200), nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("finish", sa.String(20), nullable=False),
        sa.Column("strong_tokens", sa.Integer, nullable=False),
        sa.Column("middle_tokens", sa.Integer, nullable=False),
        sa.Column("weak_tokens", sa.Integer, nullable=False),
        sa.Column("discarded_tokens", sa.Integer, nullable=False),
        sa.Column("scorer_tokens", sa.Integer, nullable=False),
        sa.Column("money", sa.Float, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("question", sa.Text),
        sa.Column("answer", sa.Text),
    )
    op.create_table(
        "steps",
        sa.Column(
            "request_id",
            sa.String(64),
            sa.ForeignKey("requests.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("choice", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("author", sa.String(10), nullable=False),
        sa.Column("action", sa.String(12), nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("draft_tokens", sa.Integer, nullable=False),
        sa.Column("strong_tokens", sa.Integer, nullable=False),
        sa.Column("fallback", sa.String(10)),
        sa.Column("text", sa.Text),
        sa.Column("draft", sa.Text),
    )
    op.create_index("steps_of_request", "steps", ["request_id", "choice", "number"], unique=True)
    op.create_table(
        "spending",
        sa.Column("key_id", sa.Integer, sa.ForeignKey("keys.id"), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("money", sa.Float, nullable=False),
        sa.Column("strong_tokens", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    for table in ("spending", "steps", "requests", "keys"):
        op.drop_table(table)

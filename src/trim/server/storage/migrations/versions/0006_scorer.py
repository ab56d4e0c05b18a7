"""The scorer of a request's steps."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("requests", sa.Column("scorer", sa.String(200)))


def downgrade() -> None:
    op.drop_column("requests", "scorer")

"""The number of messages before a question."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("requests", sa.Column("turns", sa.Integer))


def downgrade() -> None:
    with op.batch_alter_table("requests") as requests:
        requests.drop_column("turns")

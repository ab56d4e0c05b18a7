"""Keys of operators."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    made = sa.Column("operator", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("keys", made)


def downgrade() -> None:
    op.drop_column("keys", "operator")

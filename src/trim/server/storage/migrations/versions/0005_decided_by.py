"""What decided about a request: the controller of the strong share, and the scorer of its steps."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    made = sa.Column("controlled", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("requests", made)
    op.add_column("requests", sa.Column("scorer", sa.String(200)))


def downgrade() -> None:
    op.drop_column("requests", "scorer")
    op.drop_column("requests", "controlled")

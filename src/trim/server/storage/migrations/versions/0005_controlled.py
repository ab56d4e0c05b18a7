"""Whether the controller of the strong share chose a request's setting."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    made = sa.Column("controlled", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("requests", made)


def downgrade() -> None:
    op.drop_column("requests", "controlled")

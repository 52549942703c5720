"""Servers, executions and their events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "servers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("runner", sa.String(16), nullable=False),
        sa.Column("ip_address", sa.String(255), nullable=False),
        sa.Column("hostname", sa.String(255), nullable=False),
        sa.Column("ssh_port", sa.Integer(), nullable=False),
        sa.Column("ssh_username", sa.String(255), nullable=False),
        sa.Column("ssh_key_path", sa.Text()),
        sa.Column("host_key", sa.Text()),
        sa.Column("allow_changes", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_servers"),
        sa.UniqueConstraint("tag", name="uq_servers_tag"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "executions",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("server_id", sa.Integer()),
        sa.Column("server_tag", sa.String(64), nullable=False),
        sa.Column("agent_type", sa.String(16), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("worker", sa.String(32), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("interrupted_by_lease", sa.Boolean(), nullable=False),
        sa.Column("agent_summary", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_executions"),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.id"], name="fk_executions_server_id", ondelete="SET NULL"
        ),
    )
    for columns in (
        ["started_at", "id"],
        ["server_id", "started_at", "id"],
        ["status", "started_at", "id"],
        ["worker", "status"],
        ["finished_at"],
    ):
        op.create_index(f"ix_executions_{'_'.join(columns)}", "executions", columns)
    op.create_table(
        "execution_events",
        sa.Column("execution_id", sa.String(32), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "seq", name="pk_execution_events"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name="fk_execution_events_execution_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("execution_events")
    op.drop_table("executions")
    op.drop_table("servers")

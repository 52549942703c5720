"""The tables: servers, executions, their events."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, ForeignKey, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.store.columns import LongText, Number, ShortText, UtcDateTime

RUNNING: Final = "Running"
"""The status of an execution that has not ended; the others are telemetry.labels.ExecutionStatus."""


class Base(DeclarativeBase):
    """What all tables share: constraints with names, so that a migration can change them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
        }
    )


class Server(Base):
    """A registered server: `runner` is `local` or `ssh`, `host_key` the pinned key in OpenSSH's form."""

    __tablename__ = "servers"
    # An id is never given twice: a client that still holds the old one must not reach another server.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    tag: Mapped[str] = mapped_column(ShortText(64), unique=True)
    runner: Mapped[str] = mapped_column(ShortText(16))
    ip_address: Mapped[str] = mapped_column(ShortText(255))
    hostname: Mapped[str] = mapped_column(ShortText(255))
    ssh_port: Mapped[int] = mapped_column(Number)
    ssh_username: Mapped[str] = mapped_column(ShortText(255))
    ssh_key_path: Mapped[str | None] = mapped_column(LongText)
    host_key: Mapped[str | None] = mapped_column(LongText)
    allow_changes: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Execution(Base):
    """A plan that runs or ran.

    `host` and `worker` name its owner, `heartbeat_at` is the owner's last sign of life.
    `interrupted_by_lease` marks one that was given up for lost: its owner may still end it otherwise.
    """

    __tablename__ = "executions"
    __table_args__ = (
        Index("ix_executions_started_at_id", "started_at", "id"),
        Index("ix_executions_server_id_started_at_id", "server_id", "started_at", "id"),
        Index("ix_executions_status_started_at_id", "status", "started_at", "id"),
        Index("ix_executions_worker_status", "worker", "status"),
        Index("ix_executions_finished_at", "finished_at"),
    )

    id: Mapped[str] = mapped_column(ShortText(32), primary_key=True)
    server_id: Mapped[int | None] = mapped_column(Number, ForeignKey("servers.id", ondelete="SET NULL"))
    server_tag: Mapped[str] = mapped_column(ShortText(64))
    agent_type: Mapped[str] = mapped_column(ShortText(16))
    query: Mapped[str] = mapped_column(LongText)
    plan: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(ShortText(16))
    host: Mapped[str] = mapped_column(ShortText(255))
    worker: Mapped[str] = mapped_column(ShortText(32))
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_requested: Mapped[bool]
    interrupted_by_lease: Mapped[bool]
    agent_summary: Mapped[str | None] = mapped_column(LongText)


class ExecutionEvent(Base):
    """One event. `seq` counts from the first without a gap; `line` is what the stream sent."""

    __tablename__ = "execution_events"

    execution_id: Mapped[str] = mapped_column(
        ShortText(32), ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True
    )
    seq: Mapped[int] = mapped_column(Number, primary_key=True)
    type: Mapped[str] = mapped_column(ShortText(32))
    line: Mapped[str] = mapped_column(LongText)

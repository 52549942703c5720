"""The environment in which Alembic runs the migrations: the connection and transaction of its caller."""

from alembic import context

from app.store.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()

"""The history of the schema, and how a database is brought to its end."""

from functools import cache
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from app.errors import StoreVersionError


def configuration() -> Config:
    """Return what Alembic's commands need; they also want `attributes["connection"]`."""
    config = Config()
    config.set_main_option("script_location", str(files(__package__)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def head() -> str:
    """Return the revision that this version of the code works with."""
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    assert revision is not None, "there is always a first migration"  # noqa: S101 - for the type checker
    return revision


def current(connection: Connection) -> str | None:
    """Return the revision of a database, None for one that was never set up."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection) -> bool:
    """Bring the schema to the head within the open transaction, and return whether it is new.

    Raises StoreVersionError for a database that a later version of the code has migrated.
    """
    revision = current(connection)
    config = configuration()
    script = ScriptDirectory.from_config(config)
    if revision is not None:
        try:
            script.get_revision(revision)
        except CommandError:
            raise StoreVersionError(
                f"the database has schema revision {revision!r}, which this version of AOSS does not know; "
                f"its newest is {script.get_current_head()!r}. Run the version that migrated it"
            ) from None
    if revision != script.get_current_head():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return revision is None

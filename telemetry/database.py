"""Count the statements that SQLAlchemy sends to the database."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event
from sqlalchemy.engine import Compiled, ExecutionContext
from sqlalchemy.sql import ClauseElement, visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.schema import Table

from telemetry.instruments import Instruments, attribute_value

_OPERATIONS = frozenset(("select", "insert", "update", "delete"))
_OTHER = "other"
_UNKNOWN_TABLE = "unknown"


def count_statements(engine: Engine, instruments: Instruments) -> None:
    """Count each statement of an engine in aoss.db.operations; of an asynchronous one, pass `sync_engine`.

    A statement counts when it goes to the driver, once even where it carries many rows, and whether or not
    the database then accepts it: a failing database is load too. COMMIT and ROLLBACK are not statements here.
    """
    # A compiled statement is kept by SQLAlchemy's cache, so this is worked out once for each.
    known: WeakKeyDictionary[Compiled, Mapping[str, str]] = WeakKeyDictionary()

    def count(text: str, context: ExecutionContext | None) -> None:
        try:
            compiled = context.compiled if context is not None else None
            attributes = known.get(compiled) if compiled is not None else None
            if attributes is None:
                statement = compiled.statement if compiled is not None else None
                attributes = {
                    "operation": _operation(text, statement),
                    "table": attribute_value(_table(statement)),
                }
                if compiled is not None:
                    known[compiled] = attributes
        except Exception:  # noqa: BLE001 - telemetry never raises into its caller
            instruments.failures.report("statement")
            return
        instruments.db_operations.add(1, attributes)

    def execute(_cursor: Any, text: str, _parameters: Any, context: ExecutionContext | None) -> None:
        count(text, context)

    def execute_no_params(_cursor: Any, text: str, context: ExecutionContext | None) -> None:
        count(text, context)

    # The dialect's events, not before_cursor_execute: a listener of that kind sends every execution down a
    # slower path, at 5 us a statement. Returning None leaves the execution to the dialect.
    event.listen(engine, "do_execute", execute)
    event.listen(engine, "do_executemany", execute)
    event.listen(engine, "do_execute_no_params", execute_no_params)


def _operation(text: str, statement: ClauseElement | None) -> str:
    """Return what a statement does; an expression knows, while its text may begin with WITH."""
    name = getattr(statement, "__visit_name__", "")
    if name == "compound_select":
        return "select"
    if name in _OPERATIONS:
        return name
    word = text.split(None, 1)[0].lower() if text.strip() else ""
    return word if word in _OPERATIONS else _OTHER


def _table(statement: ClauseElement | None) -> str:
    """Return the first table of a statement built as an expression, the changed one for a change."""
    if isinstance(statement, UpdateBase):
        return statement.table.name if isinstance(statement.table, Table) else _UNKNOWN_TABLE
    if statement is not None and getattr(statement, "is_select", False):
        for element in visitors.iterate(statement):
            if isinstance(element, Table):
                return element.name
    return _UNKNOWN_TABLE

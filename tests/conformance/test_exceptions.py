"""The exceptions are those that are applied, and no others."""

import re
from pathlib import Path

from tests.conformance.exceptions import EXCEPTIONS

HERE = Path(__file__).parent


def test_every_exception_is_applied_by_name_and_has_a_reason() -> None:
    """What the harness leaves out of the comparison names an entry of the table, and every entry is used."""
    cited = {
        name
        for module in ("program.py", "compare.py", "test_differential.py")
        for name in re.findall(r'[Ee]xception "(\w+)"', (HERE / module).read_text())
    }
    assert set(EXCEPTIONS) == cited
    assert [name for name, reason in EXCEPTIONS.items() if not reason.endswith(".")] == []

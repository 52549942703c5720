"""A fold that is stopped by SIGKILL after any of its system calls changes no total."""

import sys
from pathlib import Path

from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter

from telemetry.sdk.archive import Folder
from telemetry.sdk.locks import FileLock
from telemetry.sdk.sources import FOLD_LOCK
from tests.telemetry.sdk.support_metrics import provider_in
from tests.telemetry.sdk.support_processes import output


def leave_dead(directory: Path, amount: int) -> None:
    """Leave a dead worker that has measured, and that nobody has folded."""
    with (
        FileLock(directory / FOLD_LOCK).exclusive(),
        provider_in(directory, exemplar_filter=AlwaysOnExemplarFilter()) as provider,
    ):
        meter = provider.get_meter("test")
        meter.create_counter("requests").add(amount, {"k": str(amount)})
        meter.create_counter("seconds").add(amount / 64)
        meter.create_histogram("durations").record(amount)
        meter.create_gauge("level").set(amount)


def test_a_killed_fold_changes_no_total(tmp_path: Path) -> None:
    """Totals, and what a hook corrected, are right after each kill and after the fold that follows."""
    template = tmp_path / "template"
    template.mkdir()
    leave_dead(template, 1)
    assert Folder(template, (), lambda _: ()).fold() == 1
    leave_dead(template, 2)
    leave_dead(template, 3)
    [kills] = output([sys.executable, "-m", "tests.faults.stopped_fold", str(template)])
    # Open, read, write, rename, unlink: fewer would mean that the calls were not caught.
    assert int(kills) > 50

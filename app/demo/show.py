"""What a demo shows: a bar while it runs, and the summary."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.demo.tally import Line

# Lines printed in place of a bar where nobody watches.
_LINES = 10


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Give the function to call with the status of each execution that ended."""
    ended: Counter[str] = Counter()

    def words() -> str:
        return ", ".join(f"{number} {status}" for status, number in sorted(ended.items()))

    if not console.is_terminal or console.is_dumb_terminal:

        def line(status: str) -> None:
            ended[status] += 1
            done = ended.total()
            if done == total or done % max(1, total // _LINES) == 0:
                console.print(f"{done} of {total}: {words()}")

        yield line
        return
    bar = Progress(
        TextColumn("{task.completed} of {task.total}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=total)

        def advance(status: str) -> None:
            ended[status] += 1
            bar.update(task, advance=1, description=words())

        yield advance


def summary(lines: list[Line]) -> Table:
    """Return the summary as a table."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold cyan")
    table.add_column("COUNTED")
    table.add_column("streams", justify="right")
    if lines and lines[0].measured is not None:
        table.add_column("/metrics", justify="right")
        table.add_column("")
        for line in lines:
            mark = "[green]agree[/]" if line.agree else "[bold red]DIFFER[/]"
            table.add_row(line.what, str(line.told), str(line.measured), mark)
    else:
        for line in lines:
            table.add_row(line.what, str(line.told))
    return table

"""A whole demo: look at /metrics, run the executions, look again, compare."""

import asyncio
import signal

from rich.console import Console

from app.demo import tally
from app.demo.client import BackendClient
from app.demo.scenarios import scenarios
from app.demo.show import progress, summary
from app.demo.stream import Demo
from app.top.exposition import Exposition
from app.top.scrape import Address, ScrapeError


def demo(url: str, executions: int, key: str | None, metrics_token: str | None) -> int:
    """Run a demo and return the exit code; raises CommandError where the backend fails."""
    console = Console(highlight=False)
    with Address(f"{url}/metrics", metrics_token) as metrics:
        try:
            return asyncio.run(_demo(url, executions, key, metrics, console))
        except asyncio.CancelledError:
            # Ctrl-C a second time: whoever presses it does not want to wait.
            return 128 + signal.SIGINT


async def _demo(url: str, executions: int, key: str | None, metrics: Address, console: Console) -> int:
    async with BackendClient(url, key) as backend:
        server = await backend.local_server()
        before = await _scraped(metrics, console)
        with progress(console, executions) as on_end:
            run = Demo(backend, server, on_end)
            _stop_at_signals(run)
            await run.run(scenarios(executions))
        after = await _scraped(metrics, console) if before else None
    measured = tally.increase(before, after) if before and after else None
    lines = tally.lines(run.told, measured)
    console.print()
    console.print(summary(lines))
    console.print()
    if run.stopped:
        console.print("Stopped: what was running has been cancelled.")
        return 128 + signal.SIGINT
    if not all(line.agree for line in lines):
        console.print("The numbers differ: someone else ran executions meanwhile, or numbers are lost.")
        return 1
    console.print(f"Look at {url}/ and, if they run, at Prometheus and Grafana.")
    return 0


async def _scraped(metrics: Address, console: Console) -> Exposition | None:
    try:
        return (await asyncio.to_thread(metrics.scrape)).exposition
    except ScrapeError as error:
        console.print(f"The numbers are not compared: {error}")
        return None


def _stop_at_signals(run: Demo) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def stop() -> None:
        if run.stopped and task:
            task.cancel()
        run.stop()

    for wish in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(wish, stop)

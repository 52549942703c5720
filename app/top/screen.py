"""The live screen: scrapes in one thread, keys and drawing in the other."""

import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from rich.console import Console
from rich.live import Live

from app.top.scrape import Address, Scrape, ScrapeError
from app.top.tally import Tally
from app.top.view import State, View

INTERVAL_SECONDS = 2.0
# Between two looks at the keys and at the size of the terminal.
_TICK_SECONDS = 0.1


def show_once(address: Address, console: Console) -> int:
    """Print what one scrape says and return the exit code; raises ScrapeError."""
    scrape = address.scrape()
    tally = Tally()
    tally.add(scrape)
    console.print(View(State(address.url, scrape), tally, recent=False))
    return 0


def watch(address: Address, console: Console) -> int:
    """Show an address until someone presses q and return the exit code.

    Raises ScrapeError where the first scrape fails; the screen says so of a later one, and goes on.
    """
    screen = _Screen(address, address.scrape(), console)
    # A scrape that hangs holds up neither the keys nor the end.
    threading.Thread(target=screen.scrape_on, daemon=True).start()
    suspended = threading.Event()
    with _signals(suspended):
        while True:
            with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
                screen.draw(live)
                while not suspended.is_set():
                    if pressed("q"):
                        return 0
                    screen.follow(live)
            # Ctrl-Z: the terminal is as it was, and the shell's until it says `fg`.
            suspended.clear()
            os.kill(os.getpid(), signal.SIGSTOP)


class _Screen:
    """What is shown, and what has changed since it was drawn."""

    def __init__(self, address: Address, scrape: Scrape, console: Console) -> None:
        self._address = address
        self._console = console
        self._state = State(address.url, scrape)
        self._tally = Tally()
        self._tally.add(scrape)
        self._answers: SimpleQueue[Scrape | Exception] = SimpleQueue()
        self._drawn: tuple[object, ...] = ()

    def scrape_on(self) -> None:
        """Scrape for ever."""
        while True:
            time.sleep(INTERVAL_SECONDS)
            try:
                self._answers.put(self._address.scrape())
            except Exception as error:  # noqa: BLE001 - raised where the terminal can be put back in order
                self._answers.put(error)

    def follow(self, live: Live) -> None:
        """Draw again where there is something new, or the terminal has another size."""
        while not self._answers.empty():
            answer = self._answers.get()
            if isinstance(answer, Scrape):
                self._tally.add(answer)
                self._state = State(self._address.url, answer)
            elif isinstance(answer, ScrapeError):
                since = self._state.failing_since or time.monotonic()
                self._state = State(self._address.url, self._state.scrape, str(answer), since)
            else:
                raise answer
        if self._drawn != self._looks():
            self.draw(live)

    def draw(self, live: Live) -> None:
        """Draw."""
        self._drawn = self._looks()
        live.update(View(self._state, self._tally, recent=True), refresh=True)

    def _looks(self) -> tuple[object, ...]:
        return id(self._state), int(self._state.failing_seconds), self._console.size


@contextmanager
def _keys() -> Iterator[Callable[[str], bool]]:
    """Give a function that waits a moment for a key; raises nothing where there is no keyboard."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed(key: str) -> bool:
        if not select.select([keyboard], [], [], _TICK_SECONDS)[0]:
            return False
        typed = os.read(keyboard, 1024)
        return not typed or key.encode() in typed

    # Not raw: Ctrl-C and Ctrl-Z stay what they are.
    tty.setcbreak(keyboard)
    try:
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _no_key(_: str) -> bool:
    time.sleep(_TICK_SECONDS)
    return False


@contextmanager
def _signals(suspended: threading.Event) -> Iterator[None]:
    """Put the terminal back in order at SIGTERM, and before Ctrl-Z takes effect."""

    def terminate(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = (
        signal.signal(signal.SIGTERM, terminate),
        signal.signal(signal.SIGTSTP, lambda *_: suspended.set()),
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGTSTP, before[1])

"""Run the commands of one session and end every process that they leave; a stand-alone program.

    python -I -S launcher.py SOCKET SHELL [ARGUMENT...]

SOCKET is the number of an inherited SOCK_SEQPACKET socket; one message is one request or report:

    worker to launcher    R<command>         run it; carries two descriptors, its standard output and error
                          S                  stop it
    launcher to worker    P<process id>      the command has started, as leader of its own session
                          E<status> <left>   it is over: its wait status, and how many processes would not end

The end of file on the socket means that the worker is gone, however it died: the launcher then ends what is
running, and itself. It is a process of its own because all orphans below a child subreaper become its
children: whatever a command does to its session, its group or its parents, it stays in this tree.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
MESSAGE_BYTES = 256 * 1024
# How long to go on with processes that do not die of SIGKILL, such as those of another user; in seconds.
PATIENCE = 3.0


def main() -> None:
    """Serve requests until the worker closes its end."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    # A service manager may signal every process of the service; the worker decides what ends when.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 2)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword
        if not message:
            return
        if message[:1] == b"R":  # A stop that comes too late for its command finds nothing to stop.
            run([*sys.argv[2:], message[1:].decode()], descriptors, channel)


def run(arguments: list[str], descriptors: list[int], channel: socket.socket) -> None:
    """Run one command to its end and report it."""
    try:
        child = start(arguments, *descriptors)
    except OSError as error:
        os.write(descriptors[1], f"{arguments[0]}: {error.strerror}\n".encode())
        child = None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    if child is None:
        report(channel, f"E{127 << 8} 0")
        return
    report(channel, f"P{child}")
    wait(child, channel)
    statuses: dict[int, int] = {}
    left = end_descendants(statuses)
    report(channel, f"E{statuses.get(child, signal.SIGKILL)} {left}")


def start(arguments: list[str], output: int, error: int) -> int:
    """Start a process in a session of its own, with nothing to read and every signal as the kernel has it."""
    # Python ignores SIGPIPE, and the worker may ignore more: a command must not inherit that.
    defaults = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, error, 2),
    ]
    return os.posix_spawnp(
        arguments[0],
        arguments,
        os.environ,
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=defaults,
    )


def wait(child: int, channel: socket.socket) -> None:
    """Return when the child has ended, or the worker says stop, or the worker is gone."""
    watched = select.poll()
    pidfd = os.pidfd_open(child)
    watched.register(pidfd, select.POLLIN)
    watched.register(channel, select.POLLIN)
    watched.poll()
    os.close(pidfd)


def report(channel: socket.socket, message: str) -> None:
    """Tell the worker, if it is still there."""
    # If it is not, the next receive says so.
    with contextlib.suppress(OSError):
        channel.send(message.encode(), socket.MSG_NOSIGNAL)


def end_descendants(statuses: dict[int, int]) -> int:
    """Kill everything below this process, note the wait statuses, return how many processes are left."""
    deadline = time.monotonic() + PATIENCE
    while reap(statuses):
        found = freeze(os.getpid(), deadline)
        signal_all(found, signal.SIGKILL)
        if time.monotonic() > deadline:
            return len(found)
        time.sleep(0.002)
    return 0


def reap(statuses: dict[int, int]) -> bool:
    """Collect children that have ended; return whether others remain."""
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            statuses[ended[0]] = ended[1]
    except ChildProcessError:
        return False
    return True


def freeze(root: int, deadline: float) -> set[int]:
    """Stop all processes below one and return them.

    Repeated until a look finds no new one: what is stopped forks no more, so that killing wins the race.
    """
    frozen: set[int] = set()
    while (new := descendants(root) - frozen) and time.monotonic() < deadline:
        signal_all(new, signal.SIGSTOP)
        frozen |= new
    return frozen


def signal_all(processes: set[int], number: int) -> None:
    """Send a signal to each process that is still there and may be signalled."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def descendants(root: int) -> set[int]:
    """Return the living processes below one process."""
    children: dict[int, list[int]] = {}
    # Importing pathlib would double the time that the launcher takes to start.
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    # The name of the program stands in parentheses and may hold anything, parentheses too.
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state not in b"ZX":
                children.setdefault(int(parent), []).append(int(name))
    found: set[int] = set()
    pending = [root]
    while pending:
        new = children.get(pending.pop(), [])
        found.update(new)
        pending += new
    return found


if __name__ == "__main__":
    main()

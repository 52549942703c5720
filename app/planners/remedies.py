"""The five remedies, each from the text of a failure to the recoveries that may help, best first."""

import re
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath

from app.planners.command_text import Call, calls, in_literal, plain_words, rewrite
from app.planners.plan import Failure, Step
from app.planners.substitutes import package_of, remedy_data, substituted

Recovery = tuple[Step, ...]

LOCK_WAIT_SECONDS = (60, 120)
BLIND_WAIT_SECONDS = (5, 15)

_OPEN, _CLOSE = "[\N{LEFT SINGLE QUOTATION MARK}'`\"]", "[\N{RIGHT SINGLE QUOTATION MARK}'\"]"
_QUOTED = rf"{_OPEN}(?P<name>[^\n]+?){_CLOSE}"

_MISSING = [
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"(?:^|: )(?P<name>[^:\s]+): command not found$",
        r": \d+: (?:exec: )?(?P<name>[^:\s]+): not found$",
        r": exec: (?P<name>[^:\s]+): not found$",
        rf"failed to run command {_QUOTED}: No such file or directory$",
        rf"^(?:/usr/bin/)?(?:env|nice): {_QUOTED}: No such file or directory$",
        r"^(?:xargs|setsid: failed to execute): ?(?P<name>\S+): No such file or directory$",
        r": line \d+: (?P<name>/\S+/s?bin/\S+): No such file or directory$",
    )
]

_DENIED = re.compile(
    r"permission denied|operation not permitted|are you root|(?:must|need to) be (?:run as )?root"
    r"|requires root|only root|superuser|interactive authentication required",
    re.IGNORECASE,
)
# Refused by a database or a remote login: root on this server would not be let in either.
_DENIED_ELSEWHERE = re.compile(r"permission denied (?:\(|for )|access denied for user", re.IGNORECASE)
_NOT_EXECUTABLE = [
    re.compile(r": (?:line )?\d+: (?P<name>[^:\n]+): Permission denied$", re.MULTILINE),
    re.compile(rf"failed to run command {_QUOTED}: Permission denied$", re.MULTILINE),
]
_INTERPRETERS = {".sh": "bash", ".bash": "bash", ".py": "python3", ".pl": "perl"}

_HELD = [
    re.compile(r"Could not get lock (?P<name>/\S+?)[.,]?(?: - open|\s|$)", re.MULTILINE),
    re.compile(
        r"Unable to lock (?:the administration )?directory \(?(?P<name>/\S+?/?)\)?(?:,|\s|$)", re.MULTILINE
    ),
]
_PRESENT = [
    re.compile(r"Unable to create '(?P<name>[^'\n]+\.lock)': File exists"),
    re.compile(r"existing lock file (?P<name>/\S+?)(?:[;,]|\s|$)"),
    re.compile(r"cannot lock (?P<name>/etc/\w+)"),
]
_LOCKED = re.compile(
    r"Resource temporarily unavailable|database is locked|dpkg frontend lock|is locked by another process"
    r"|could not obtain lock|already locked|lock is held",
    re.IGNORECASE,
)
_DPKG_LOCK = "/var/lib/dpkg/lock-frontend"

_EXISTS = [
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rf"(?:cannot|failed to) create [a-z ]+ {_QUOTED}: File exists$",
        rf"destination path {_QUOTED} already exists",
        r": (?:line )?\d+: (?P<name>[^:\n]+): cannot overwrite existing file$",
        r"^(?P<name>/\S+) already exists\.$",
    )
]
_ACCOUNT_EXISTS = re.compile(rf"(?P<kind>user|group) {_OPEN}(?P<name>[\w.-]+){_CLOSE} already exists")
_SYSTEM_DIRECTORIES = re.compile(r"bin|boot|dev|etc|home|lib\d*|proc|root|run|sbin|sys|usr|var")

_PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|\bbind: ", re.IGNORECASE)
_ADDRESS = r"(?:(?:localhost|\*|\d+(?:\.\d+){3}|\[[0-9a-fA-F:]*\]):)?"
_NAMED_PORT = re.compile(
    r"(?:\bhttp\.server\s+|(?<!\w)(?:--(?:[a-z]+-)?port|--listen|--bind|--addr(?:ess)?|-S)[= ]\s*" + _ADDRESS
    + r"|(?<!\w)-[lp]+\s*" + _ADDRESS + r"|\bPORT=)(?P<port>\d{2,5})(?![\w.:/])"
)  # fmt: skip


def command_not_found(failure: Failure, *, allow_changes: bool) -> Iterator[Recovery]:
    """Use the standard alternative of an absent program, or install the package that holds it."""
    programs = _names(_MISSING, failure.stderr)
    for program in programs:
        for command, changes in substituted(failure.command, program, remedy_data().alternatives):
            yield (
                Step(
                    command, f"Do without {program}, which is not installed", changes=changes, replaces=True
                ),
            )
    if not allow_changes:
        return
    for program in programs:
        if package := package_of(program):
            yield (
                Step(as_root("apt-get -q update"), "Refresh the package lists", changes=True),
                Step(
                    as_root(
                        "env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=60"
                        f" install -y --no-install-recommends {package}"
                    ),
                    f"Install {package}, which holds {program}",
                    changes=True,
                ),
            )


def permission_denied(failure: Failure, *, allow_changes: bool) -> Iterator[Recovery]:
    """Give a script to its interpreter, read where everyone may, or use sudo without a password."""
    if not _DENIED.search(failure.stderr) or _DENIED_ELSEWHERE.search(failure.stderr):
        return
    for script in _names(_NOT_EXECUTABLE, failure.stderr):
        interpreter = _INTERPRETERS.get(PurePosixPath(script).suffix)
        if interpreter and (command := rewrite(failure.command, script, _run_by(interpreter))):
            yield (Step(command, f"Run {script} by {interpreter}: it is not executable", replaces=True),)
    for program in remedy_data().unprivileged:
        for command, _ in substituted(failure.command, program, remedy_data().unprivileged):
            yield (Step(command, f"Read what {program} would not tell this user elsewhere", replaces=True),)
    if allow_changes and not re.search(r"\bsudo\b", failure.command):
        command = f"sudo -n bash -c {shlex.quote(failure.command)}"
        yield (Step(command, "Run the command as root", changes=True, replaces=True),)


def lock_held(failure: Failure, *, allow_changes: bool) -> Iterator[Recovery]:  # noqa: ARG001 - as its siblings
    """Wait until the lock is free, for a time that has a bound; the lock itself is left alone."""
    present = _names(_PRESENT, failure.stderr)
    held = _names(_HELD, failure.stderr)
    for path in present[:1]:
        lock = path if path.endswith(".lock") else f"{path}.lock"
        yield from _waits(lock, f"[ -e {shlex.quote(lock)} ]")
    if present or not (held or _LOCKED.search(failure.stderr)):
        return
    if "dpkg" in failure.stderr and not held:
        held = [_DPKG_LOCK]
    for path in held[:1]:
        lock = f"{path}lock" if path.endswith("/") else path
        quoted = shlex.quote(lock)
        # The kernel names locks by inode, and tells them to everyone; opening the file may be for root.
        yield from _waits(lock, f'[ -e {quoted} ] && grep -q ":$(stat -c %i {quoted}) " /proc/locks')
    if not held:
        for seconds in BLIND_WAIT_SECONDS:
            yield (Step(f"sleep {seconds}", f"Wait {seconds} s for whoever holds the lock"),)


def already_exists(failure: Failure, *, allow_changes: bool) -> Iterator[Recovery]:
    """Skip what is there already, after a look that it is what was wanted, or move it aside."""
    paths = _names(_EXISTS, failure.stderr)
    if paths and (command := rewrite(failure.command, "mkdir", _with_parents)):
        yield (Step(command, "Accept directories that exist", replaces=True),)
    for path in paths[:1]:
        if command := rewrite(failure.command, "ln", partial(_same_link, path)):
            yield (Step(command, "Skip the link if it is there and leads to the same place", replaces=True),)
        if command := rewrite(failure.command, "git", partial(_same_clone, path)):
            yield (Step(command, "Skip the clone if it is there and has the same origin", replaces=True),)
    if account := _ACCOUNT_EXISTS.search(failure.stderr):
        kind, name = account["kind"], shlex.quote(account["name"])
        for program in ("useradd", "adduser") if kind == "user" else ("groupadd", "addgroup"):
            look = f"id {name}" if kind == "user" else f"getent group {name}"
            if command := rewrite(failure.command, program, _instead(look)):
                yield (Step(command, f"Skip the {kind}, which exists, and show it", replaces=True),)
    for path in paths[:1]:
        if allow_changes and _may_be_moved(path, failure.command):
            quoted = shlex.quote(path)
            sudo = "sudo -n " if any(call.program == "sudo" for call in calls(failure.command)) else ""
            command = f'{sudo}mv -T -- {quoted} {quoted}.before-"$(date -u +%Y%m%dT%H%M%SZ)"'
            yield (Step(command, f"Move {path} aside; nothing is deleted", changes=True),)


def port_in_use(failure: Failure, *, allow_changes: bool) -> Iterator[Recovery]:  # noqa: ARG001 - as its siblings
    """Show who holds the port and use the next free one, where the command clearly names its port."""
    if not _PORT_TAKEN.search(failure.stderr):
        return
    ports = {match["port"] for match in _NAMED_PORT.finditer(failure.command)}
    if len(ports) > 1:
        ports = {port for port in ports if re.search(rf":{port}\b", failure.stderr)}
    if len(ports) != 1 or not 0 < int(port := ports.pop()) < 65535:
        return
    elsewhere = _NAMED_PORT.sub("", failure.command)
    if in_literal(failure.command, port) or re.search(rf"(?<!:)\b{port}\b", elsewhere):
        return
    command = re.sub(rf"\b{port}\b", "${port}", failure.command)
    listening = r'":$(printf %04X "$port") [0-9A-F]*:0000 0A" /proc/net/tcp /proc/net/tcp6'
    yield (
        Step(
            f"if command -v ss >/dev/null; then ss -Hltnp 'sport = :{port}';"
            " else echo 'ss is not installed'; fi",
            f"Show what listens on port {port}; it is left alone",
        ),
        Step(
            f"port={int(port) + 1}\n"
            f'while [ "$port" -lt 65535 ] && grep -qs {listening}; do port=$((port+1)); done\n'
            f'echo "port {port} is taken, $port is used instead" >&2\n{command}',
            f"Use the next free port instead of {port}",
            replaces=True,
        ),
    )


ALL = (command_not_found, lock_held, permission_denied, already_exists, port_in_use)


def as_root(command: str) -> str:
    """Return a command that runs as root, by sudo without a password where the user is another."""
    return f'if [ "$(id -u)" -eq 0 ]; then {command}; else sudo -n {command}; fi'


def _names(patterns: list[re.Pattern[str]], text: str) -> list[str]:
    found = (match["name"] for pattern in patterns for match in pattern.finditer(text))
    return list(dict.fromkeys(found))


def _run_by(interpreter: str) -> Callable[[Call], str | None]:
    return lambda call: f"{interpreter} {shlex.quote(call.program)} {call.arguments}".strip()


def _instead(command: str) -> Callable[[Call], str | None]:
    return lambda _: command


def _waits(lock: str, condition: str) -> Iterator[Recovery]:
    for seconds in LOCK_WAIT_SECONDS:
        still = shlex.quote(f"{lock} is still locked after {seconds} s")
        yield (
            Step(
                f'i=0; while {condition}; do if [ "$i" -ge {seconds} ]; then echo {still} >&2; exit 1; fi;'
                f" i=$((i+1)); sleep 1; done; echo {shlex.quote(f'{lock} is free')}",
                f"Wait up to {seconds} s until {lock} is free",
            ),
        )


def _with_parents(call: Call) -> str | None:
    return None if re.search(r"(^|\s)(-[a-z]*p|--parents)", call.arguments) else f"mkdir -p {call.arguments}"


def _same_link(path: str, call: Call) -> str | None:
    words = plain_words(call.arguments)
    if words is None or len(words) != 3 or words[0] not in {"-s", "--symbolic"}:
        return None
    return f'test "$(readlink -- {shlex.quote(path)})" = {shlex.quote(words[1])}'


def _same_clone(path: str, call: Call) -> str | None:
    words = plain_words(call.arguments)
    if not words or words[0] != "clone":
        return f"git {call.arguments}"
    origin = next((word for word in words[1:] if not word.startswith("-") and re.search("[/:]", word)), None)
    if origin is None:
        return None
    return f'test "$(git -C {shlex.quote(path)} remote get-url origin)" = {shlex.quote(origin)}'


def _may_be_moved(path: str, command: str) -> bool:
    """Say whether moving a path aside is safe: the right path, and nothing that the system stands on."""
    parts = PurePosixPath(path).parts
    # The path is what the output says: one that the command does not name may be made up.
    if ".." in parts or not parts or parts[-1] not in command:
        return False
    if not path.startswith("/"):
        # Each command starts in the same directory; one that goes elsewhere means another path.
        return not any(call.program in {"cd", "pushd", "git"} and _goes(call) for call in calls(command))
    return len(parts) >= (4 if _SYSTEM_DIRECTORIES.fullmatch(parts[1]) else 3)


def _goes(call: Call) -> bool:
    return call.program != "git" or "-C" in call.arguments

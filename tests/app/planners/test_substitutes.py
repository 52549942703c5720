"""What replaces an absent program, by the text of the failure and by what it does when it is run."""

import shutil
from pathlib import Path

import pytest

from app.planners.healing import recover
from app.planners.plan import Attempt, Step
from app.planners.substitutes import REMEDIES, RemedyFileError, load_remedies
from tests.app.planners.failures import LOOK_ONLY, MAY_CHANGE, failed, heal, missing, run


@pytest.mark.parametrize(
    ("command", "program", "expected"),
    [
        ("netstat -tlnp", "netstat", "ss -tlnp"),
        ("netstat -t -l -n", "netstat", "ss -t -l -n"),
        ("netstat -rn", "netstat", "ip route show"),
        ("/usr/bin/netstat -s", "/usr/bin/netstat", "ss -s"),
        ("ifconfig", "ifconfig", "ip addr show up"),
        ("ifconfig -a", "ifconfig", "ip addr show"),
        ("ifconfig eth0", "ifconfig", "ip addr show dev eth0"),
        ("route -n", "route", "ip route show"),
        ("arp -a", "arp", "ip neigh show"),
        ("nslookup example.org", "nslookup", "getent ahosts example.org"),
        ("host example.org", "host", "getent ahosts example.org"),
        ("host -t mx example.org", "host", "dig +short example.org mx"),
        ("nslookup example.org 9.9.9.9", "nslookup", "dig +short @9.9.9.9 example.org"),
        ("dig +short example.org", "dig", "getent ahosts example.org"),
        ("service nginx status", "service", "systemctl status --no-pager nginx"),
        ("systemctl status nginx.service", "systemctl", "service nginx status"),
        ("python tool.py 'a b'", "python", "python3 tool.py 'a b'"),
        ("egrep 'a|b' \"$HOME/x\"", "egrep", "grep -E 'a|b' \"$HOME/x\""),
        ("sudo apt-get update", "sudo", "apt-get update"),
        # Inside longer commands: only the call is replaced, and its surroundings stay as they were.
        ("netstat -tl 2>/dev/null | grep 'netstat'", "netstat", "ss -tl 2>/dev/null | grep 'netstat'"),
        ("LANG=C ss; echo \"it's $(route -n)\"", "route", "LANG=C ss; echo \"it's $(ip route show)\""),
        ("sudo -n netstat -tlnp", "netstat", "sudo -n ss -tlnp"),
        ("timeout 5 netstat -an | head", "netstat", "timeout 5 ss -an | head"),
        ("for i in 1 2; do netstat -s; done", "netstat", "for i in 1 2; do ss -s; done"),
        ("netstat -an; netstat -rn", "netstat", "ss -an; ip route show"),
        ("echo 'grün' \N{EN DASH} && netstat -an", "netstat", "echo 'grün' \N{EN DASH} && ss -an"),
    ],
)  # fmt: skip
def test_absent_program_is_replaced(command: str, program: str, expected: str) -> None:
    """An absent program's standard alternative takes its place, arguments translated, in one step."""
    recovery = recover(LOOK_ONLY, missing(command, program), [])
    assert [expected] == [step.command for step in recovery]
    assert recovery[0].replaces


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("netstat -tlnpc", "netstat"),  # -c never ends
        ("ifconfig eth0 192.0.2.7 netmask 255.255.255.0", "ifconfig"),
        ("route add default gw 192.0.2.1", "route"),
        ("bash -c 'netstat -tlnp'", "netstat"),  # the call cannot be located for sure
        ("sudo grep netstat file", "netstat"),
        ("netstat -tlnp | grep 'unclosed", "netstat"),
        ("netstat -an; netstat -c", "netstat"),
        ("vim file", "vim"),
        ("./netstat -an", "./netstat"),
        ("frobnicate", "frobnicate"),
    ],
)
def test_absent_program_without_a_safe_alternative(command: str, program: str) -> None:
    """Where no alternative does the same, or the call cannot be located, nothing is invented."""
    assert recover(LOOK_ONLY, missing(command, program), []) == ()


@pytest.mark.parametrize(
    "stderr",
    [
        "bash: line 1: netstat: command not found",
        "bash: netstat: command not found",
        "-bash: netstat: command not found\n",
        "sh: 1: netstat: not found",
        "/bin/sh: 1: netstat: not found",
        "sudo: netstat: command not found",
        "timeout: failed to run command \u2018netstat\u2019: No such file or directory",
        "env: 'netstat': No such file or directory",
        "some output first\nbash: line 3: netstat: command not found\nand more",
    ],
)  # fmt: skip
def test_every_way_of_saying_not_found(stderr: str) -> None:
    """bash, dash, sudo and the programs that start others each say it in their own words."""
    assert [step.command for step in recover(LOOK_ONLY, failed("netstat -an", stderr, 127), [])] == ["ss -an"]


def test_changing_alternative_is_marked() -> None:
    """An alternative that alters the server says so, as the absent program would have done the same."""
    recovery = recover(LOOK_ONLY, missing("service nginx restart", "service"), [])
    assert (
        Step("systemctl restart nginx", recovery[0].description, changes=True, replaces=True),
    ) == recovery


def test_install_only_where_changes_are_allowed() -> None:
    """Without an alternative the package is installed, by root or by sudo, if that is allowed."""
    failure = missing("tree /etc", "tree")
    assert recover(LOOK_ONLY, failure, []) == ()
    update, install = recover(MAY_CHANGE, failure, [])
    assert update.changes
    assert install.changes
    assert not install.replaces
    assert "apt-get -q update" in update.command
    assert "DEBIAN_FRONTEND=noninteractive" in install.command
    assert "install -y --no-install-recommends tree;" in install.command
    assert "else sudo -n env" in install.command


def test_remedies_are_tried_in_turn_and_never_twice() -> None:
    """A remedy that did not help is not offered again; when none is left the answer is empty."""
    failure = missing("nslookup example.org", "nslookup")
    recoveries = heal(MAY_CHANGE, failure, lambda command: failed(command, "no luck"))
    expected = ["getent ahosts example.org", "dig +short example.org"]
    assert expected == [each[0].command for each in recoveries[:2]]
    assert "bind9-dnsutils" in recoveries[2][-1].command
    earlier = [Attempt(recovery, failure) for recovery in recoveries]
    assert recover(MAY_CHANGE, failure, earlier) == ()


def test_absent_program_healed_for_real(tmp_path: Path) -> None:
    """A program that is not there fails, and the standard alternative reaches the goal."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cat", "grep", "bash"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    command = "egrep 'ro+t' /etc/passwd | cat && echo done > out"
    failure = run(f"set -o pipefail; {command}", tmp_path, str(tools))
    assert failure
    assert failure.exit_code == 127
    recoveries = heal(LOOK_ONLY, failure, lambda each: run(each, tmp_path, str(tools)))
    assert [f"set -o pipefail; {command.replace('egrep', 'grep -E')}"] == [
        step.command for step in recoveries[0]
    ]
    assert (tmp_path / "out").read_text() == "done\n"


@pytest.mark.parametrize(
    ("replace", "by", "complaint"),
    [
        ("alternatives:", "alternative:", r"remedies\.yaml: expected the keys"),
        ("  tree: tree", "  tree: 'tree; reboot'", r"packages: tree: 'tree; reboot' is no package name"),
        ("command: 'ss {flags}'", "command: 'ss {flag}'", r"alternatives: netstat: .* does not name"),
        ("(?P<flags>-[46", "(?P<flags>-([46", r"alternatives: netstat: "),
        ("command: ss -s}", "commands: ss -s}", r"alternatives: netstat: expected the keys"),
        ("alternatives:", "alternatives: [", r"remedies\.yaml cannot be read"),
    ],
)  # fmt: skip
def test_bad_remedy_file_is_refused(tmp_path: Path, replace: str, by: str, complaint: str) -> None:
    """A mistake in the data is reported with file and entry."""
    text = REMEDIES.read_text(encoding="utf-8")
    assert replace in text
    path = tmp_path / "remedies.yaml"
    path.write_text(text.replace(replace, by, 1), encoding="utf-8")
    with pytest.raises(RemedyFileError, match=complaint):
        load_remedies(path)

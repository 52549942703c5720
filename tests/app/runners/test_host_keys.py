"""Tests of host keys: their form, their fingerprints, and asking a server for one."""

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from app.errors import SessionError
from app.runners.host_keys import fingerprint, normalise_host_key, scan_host_key
from tests.support.sshd import RunningSshd

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHIcbhB9BHVXYCXA12mbx+GibP4o5jorvMbfLN2kaoX+"


async def test_a_scan_returns_the_key_and_the_fingerprint_of_ssh_keygen(
    sshd: RunningSshd, tmp_path: Path
) -> None:
    """What is pinned is the server's key, and people can compare its fingerprint."""
    line, shown = await scan_host_key(sshd.host, sshd.port)
    path = tmp_path / "key.pub"
    path.write_text(line + "\n")
    command = [sshd.program("ssh-keygen"), "-l", "-f", str(path)]
    listed = await asyncio.to_thread(subprocess.check_output, command, env=sshd.environment, text=True)
    assert (line, shown) == (sshd.host_key_line, listed.split()[1])
    assert normalise_host_key(line) == line


@pytest.mark.parametrize("text", [KEY, f"  {KEY}\n", f"{KEY} root@example", KEY.replace(" ", "\t")])
def test_a_key_loses_its_comment_and_its_white_space(text: str) -> None:
    """One key has one form."""
    assert normalise_host_key(text) == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!!",
        "ssh-ed25519 AAAA",
        "no-such-kind AAAAC3NzaC1lZDI1NTE5AAAAIHIcbhB9",
        KEY.replace("ssh-ed25519 ", "ssh-rsa "),
        f"{KEY}\n{KEY}",
        f"example.org {KEY}",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----",
        "ssh-ed25519 \ud800",
        "ssh-ed25519 é",
    ],
)
def test_anything_else_is_refused_without_being_repeated(text: str) -> None:
    """What is not a public key is an error whose message does not hold the text."""
    with pytest.raises(ValueError, match=r"one-line form|private key") as caught:
        normalise_host_key(text)
    assert "secret" not in str(caught.value)
    assert "AAAA" not in str(caught.value).replace("`ssh-ed25519 AAAA...`", "")


def test_the_fingerprint_is_the_published_one() -> None:
    """GitHub publishes its host key and the key's fingerprint."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    assert fingerprint(key) == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


async def test_a_scan_of_nothing_is_a_clear_error(unused_port: int) -> None:
    """Nobody listening is said in words that name host and port."""
    with pytest.raises(SessionError, match=rf"127\.0\.0\.1:{unused_port}: the connection was refused"):
        await scan_host_key("127.0.0.1", unused_port)


async def test_a_scan_of_a_silent_host_ends(monkeypatch: pytest.MonkeyPatch, silent_port: int) -> None:
    """A host that accepts and never answers does not hold the scan for ever."""
    monkeypatch.setattr("app.runners.host_keys.CONNECT_TIMEOUT", 0.3)
    started = time.monotonic()
    with pytest.raises(SessionError, match="did not answer as an SSH server"):
        await scan_host_key("127.0.0.1", silent_port)
    assert time.monotonic() - started < 10

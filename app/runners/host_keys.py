"""The public key by which a server is recognised, and what can be wrong with reaching it."""

import asyncio
import socket

import asyncssh

from app.errors import SessionAuthenticationError, SessionError

# For everything from the name's resolution to the key's acceptance; in seconds.
CONNECT_TIMEOUT = 10.0

# Best first: a server shows one key, of the first kind that it has.
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def normalise_host_key(text: str) -> str:
    """Return `algorithm base64`, without a comment, of a public key in OpenSSH's one-line form.

    Raises ValueError for anything else, private keys included; its message does not repeat the text.
    """
    if "PRIVATE KEY" in text:
        raise ValueError("this is a private key; a host key is a public one")
    words = text.split()
    if len(words) < 2 or len(text.strip().splitlines()) != 1:
        raise ValueError("not a public key in OpenSSH's one-line form, `ssh-ed25519 AAAA...`")
    try:
        return key_line(asyncssh.import_public_key(" ".join(words[:2])))
    except ValueError:
        raise ValueError("not a public key in OpenSSH's one-line form, or of an unknown kind") from None


def key_line(key: asyncssh.SSHKey) -> str:
    """Return a key's public part in OpenSSH's one-line form, without a comment."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def fingerprint(key_line: str) -> str:
    """Return the SHA256 fingerprint of a key line as ssh-keygen prints it; raises ValueError for no key."""
    return asyncssh.import_public_key(key_line).get_fingerprint()


async def scan_host_key(host: str, port: int) -> tuple[str, str]:
    """Ask a server for its key; return the line to pin and its SHA256 fingerprint. Raises SessionError."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            key = await asyncssh.get_server_host_key(
                host, port, config=None, server_host_key_algs=HOST_KEY_ALGORITHMS
            )
    except (OSError, ValueError, asyncssh.Error) as error:
        raise connection_problem(host, port, error) from error
    if key is None:
        raise SessionError(f"{host}:{port} showed no host key")
    line = key_line(key)
    return line, fingerprint(line)


def connection_problem(host: str, port: int, error: Exception) -> SessionError:
    """Return what to raise for a connection that failed: what happened, with whom, and nothing secret."""
    # What a server says of itself may hold control characters and be of any length.
    words = "".join(letter if letter.isprintable() else "?" for letter in str(error)[:300])
    kind: type[SessionError] = SessionError
    match error:
        case TimeoutError():
            problem = f"did not answer as an SSH server within {CONNECT_TIMEOUT:g} s"
        case socket.gaierror():
            problem = f"the name cannot be resolved: {error.strerror}"
        case ConnectionRefusedError():
            problem = "the connection was refused: nothing listens there"
        case OSError():
            problem = f"the server cannot be reached: {error.strerror or words}"
        case _ if isinstance(error, asyncssh.PermissionDenied) or "authentication failures" in words:
            # The second: the agent has more keys than the server wants to hear of.
            kind = SessionAuthenticationError
            problem = f"the server refused the key: {words}"
        case _:
            problem = f"no SSH connection could be made: {words}"
    return kind(f"{host}:{port}: {problem}")

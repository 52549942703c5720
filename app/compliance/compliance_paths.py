"""Paths as rules name them, and as commands disguise them."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase, translate

from app.compliance.shell_command import Kind, Unknowns, has_unknown, split_unknown

_BRACKETS = re.compile(r"\[(\^|!)?(\]?[^\]]*)\]")
_WILD = re.compile(r"[*?\[]")


def segments(path: str) -> tuple[str, ...]:
    """Return the parts of a path without `.`, `..` and doubled slashes; an absolute one begins with ''."""
    done: list[str] = []
    whose, slash, rest = path.partition("/")
    if re.fullmatch(r"~[a-z_][a-z0-9_-]*", whose):
        path = ("/root" if whose == "~root" else f"/home/{whose[1:]}") + slash + rest
    for at, part in enumerate(path.split("/")):
        if part == ".." and done and done[-1] != "..":
            # The parent of a home directory is most likely /home.
            done[-1:] = ["", "home"] if done == ["~"] else [] if len(done) > 1 or done[0] else [""]
        elif part not in {"", "."} or (at == 0 and part == "" and path):
            done.append(part)
    return tuple(done)


def readings(path: str, directory: str | None, unknowns: Unknowns) -> Iterator[tuple[str, ...]]:
    """Yield what a path may name: an unknown variable may be empty, or any name.

    A path that ends in nothing but wildcards also names the directory that they empty.
    """
    for reading in dict.fromkeys((unknowns.without(path, Kind.VARIABLE), path)):
        if not reading:
            continue
        anchored = reading.startswith(("/", "~")) or has_unknown(reading[0])
        parts = segments(reading if anchored or directory is None else f"{directory}/{reading}")
        yield parts
        emptied = parts
        while emptied and _is_wild(emptied[-1]):
            emptied = emptied[:-1]
        if emptied and emptied != parts:
            yield emptied


def matches(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Return whether a path, which may hold wildcards and unknown parts, can name what a pattern names."""
    return (
        len(pattern) == len(parts)
        # What a path is relative to is known or it is not: no wildcard stands for / or for ~.
        and pattern[:1] == parts[:1]
        and all(map(_segment_matches, pattern[1:], parts[1:]))
    )


def _is_wild(part: str) -> bool:
    """Return whether a part selects everything, or everything hidden: `*`, `.*`, `.[!.]*`."""
    return _WILD.search(part) is not None and not _BRACKETS.sub("", part).strip("*?.!")


def _segment_matches(pattern: str, part: str) -> bool:
    if not has_unknown(part) and not _WILD.search(part):
        return fnmatchcase(part, pattern)
    # Both may hold wildcards: try one instance of each against the other.
    regex = ".*".join(translate(known)[4:-3] for known in split_unknown(part))
    instance = _BRACKETS.sub(lambda found: "0" if found[1] else found[2][:1], part)
    instance = "".join(split_unknown(instance)).replace("*", "").replace("?", "x")
    return re.fullmatch(regex, pattern.replace("*", "x"), re.DOTALL) is not None or fnmatchcase(
        instance, pattern
    )

"""What the redirections of a command say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tree_sitter import Node

from app.compliance.shell_command import Command, Unknowns, bounded
from app.compliance.shell_words import Words

REDIRECTS = frozenset({"file_redirect", "heredoc_redirect", "herestring_redirect"})


@dataclass(slots=True)
class Redirects:
    """Where the input comes from, as text if that is static, and what is written.

    `words` are those that stood behind a redirection and belong to the command; `receivers` are the `>(…)`
    that read what it writes.
    """

    input: str | None
    upstream: tuple[Command, ...]
    writes: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    receivers: list[Node] = field(default_factory=list)


def redirects(
    nodes: Sequence[Node], text: str, resolve: Words, unknowns: Unknowns, found: Redirects
) -> Redirects:
    """Add to `found` what redirections say; `text` is what the nodes' offsets point into."""
    for node in nodes:
        if node.type == "heredoc_redirect":
            nested = [child for child in node.named_children if child.type in REDIRECTS]
            redirects(nested, text, resolve, unknowns, found)
            found.input = _document(node, text, resolve)
            found.upstream = unknowns.sources(found.input)
            continue
        targets = [child for child in node.named_children if child.type != "file_descriptor"]
        if node.type == "herestring_redirect":
            found.input = "".join(resolve.text(target) for target in targets)
            found.upstream = unknowns.sources(found.input)
            continue
        # The grammar takes words after the target, `> file -rf /`, for further targets.
        found.words += [word for target in targets[1:] for word in resolve.fields(target)]
        for target in targets[:1]:
            names = resolve.fields(target)
            if any(child.type in {"<", "<&"} for child in node.children):
                found.upstream = unknowns.sources("".join(names))
                found.input = output(found.upstream)
            else:
                found.writes += names
                found.receivers += [target] if target.type == "process_substitution" else []
    return found


def output(commands: Sequence[Command]) -> str | None:
    """Return what commands print one after the other, as far as it can be told."""
    texts = [command.prints for command in commands if command.prints is not None]
    return bounded("".join(texts)) if texts else None


def _document(node: Node, text: str, resolve: Words) -> str:
    start = next((child for child in node.children if child.type == "heredoc_start"), node)
    body = next((child for child in node.children if child.type == "heredoc_body"), None)
    if body is None:
        return ""
    if re.search(r"['\"\\]", text[start.start_byte : start.end_byte]):
        return text[body.start_byte : body.end_byte]
    return resolve.text(body)

"""The grammar of the shell's language, kept from what would crash or stall it."""

import re
import time
from functools import partial

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from app.compliance.shell_command import TooComplexError

_LANGUAGE = Language(tree_sitter_bash.language())
_CHUNK_BYTES = 4096
# A long row of unfinished pipelines takes the parser gigabytes and seconds that no callback interrupts.
_PIPE_LIMIT = 1000

# tree-sitter-bash looks characters up in the tables of the C library: one beyond ASCII can end the process
# (its issue 337), and control characters can take it minutes. To the shell they are ordinary letters of a
# word, so the grammar sees a full stop in place of each, and the words are cut from the text itself.
_NOT_FOR_THE_GRAMMAR = re.compile(r"[^\t\n -~]")

_DESCRIPTOR_COPY = re.compile(r"(?<=[ \t])[0-9]>&[0-9](?=[ \t|;&)\n]|$)")


class UnparsableError(Exception):
    """Report a text that is not in the shell's language as the grammar knows it."""


def parse(text: str, deadline: float) -> Node:
    """Return the root of a text's tree.

    `deadline` is when to give up, in seconds of this thread's processor time (`time.thread_time`).
    Raises UnparsableError, and TooComplexError past the limits.
    """
    if text.count("|") > _PIPE_LIMIT:
        raise TooComplexError
    # The grammar does not know `<>`, where `>|` writes the same file, nor `<<EOF 2>&1 |`, where the copy of a
    # descriptor changes nothing for any rule.
    plain = _DESCRIPTOR_COPY.sub(lambda copy: " " * len(copy[0]), text.replace("<>", ">|"))
    for candidate in dict.fromkeys((text, plain)):
        source = _NOT_FOR_THE_GRAMMAR.sub(".", candidate).encode("ascii")
        try:
            tree = Parser(_LANGUAGE).parse(
                partial(_chunk, source), progress_callback=lambda *_: time.thread_time() > deadline
            )
        except ValueError as error:
            raise TooComplexError from error
        if not tree.root_node.has_error:
            return tree.root_node
    raise UnparsableError


def flat(node: Node) -> list[Node]:
    """Return the children, those of a long `a && b || c` (which the grammar nests to the left) in one row."""
    children = node.children
    while children and children[0].type == "list" and node.type == "list":
        node = children[0]
        children = node.children + children[1:]
    return children


def _chunk(source: bytes, at: int, _: object) -> bytes:
    return source[at : at + _CHUNK_BYTES]

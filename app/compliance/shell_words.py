"""Words of the shell's language: quoting, variables, substitutions, braces and splitting undone."""

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import translate
from itertools import pairwise

from tree_sitter import Node

from app.compliance.shell_command import TEXT_LIMIT, Kind, TooComplexError, Unknowns, has_unknown, is_unknown

Value = tuple[str, ...]  # the elements of an array; a plain variable has one

_STRIP_LIMIT = 256

# Noncharacters, which no input holds: quoted or expanded braces and commas, the end of a field, and a pair
# of quotes, for which an empty field stays.
_PROTECT = str.maketrans("{},", "\ufdd0\ufdd1\ufdd2")
_RESTORE = str.maketrans("\ufdd0\ufdd1\ufdd2", "{},", "\ufdd4")
_SPLIT, _QUOTES = "\ufdd3", "\ufdd4"

_SET_BY_SHELL = frozenset(
    {
        "$",
        "?",
        "!",
        "#",
        "0",
        "-",
        "_",
        "BASHPID",
        "BASH_VERSION",
        "EUID",
        "HOSTNAME",
        "LANG",
        "LINENO",
        "LOGNAME",
    }
    | {"OLDPWD", "PATH", "PPID", "PWD", "RANDOM", "SECONDS", "SHELL", "SHLVL", "UID", "USER"}
)
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|(0?[0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(\.\.-?\d+)?")


def unescape(text: str) -> str:
    """Return a text with the escapes of `$'…'`, `echo -e` and `printf` replaced."""

    def character(escape: re.Match[str]) -> str:
        hexadecimal = escape[1] or escape[2] or escape[3]
        if hexadecimal or escape[4]:
            number = int(hexadecimal, 16) if hexadecimal else int(escape[4], 8) & 0xFF
            return chr(number) if 0 < number < 0xD800 or 0xDFFF < number < 0xF0000 else "\ufffd"
        if escape[5]:
            return chr(ord(escape[5]) & 0x1F)
        return _ESCAPES.get(escape[6], escape[6] if escape[6] in "\\'\"?" else escape[0])

    return _ESCAPE.sub(character, text)


class Words:
    """Work out the words of one parsed text.

    `text` is what the nodes' offsets point into. `world` gives each known variable one value. `substitute`
    returns what a command or process substitution stands for, `assign` notes an assignment by an expansion.
    """

    def __init__(
        self,
        text: str,
        world: Mapping[str, Value],
        unknowns: Unknowns,
        substitute: Callable[[Node], str],
        assign: Callable[[str, Value], None],
    ) -> None:
        self._text = text
        self._world = world
        self._unknowns = unknowns
        self._substitute = substitute
        self._assign = assign
        self._inserted_characters = 0
        self._separators = "".join(world.get("IFS", ()))

    def fields(self, node: Node) -> list[str]:
        """Return the words that a word becomes."""
        template = self._expand(node)
        # Most words have no braces, and finding that out is cheaper than expanding them.
        expanded = _braces(template, self._unknowns) if "{" in template else [template]
        return [field.translate(_RESTORE) for each in expanded for field in each.split(_SPLIT) if field]

    def text(self, node: Node) -> str:
        """Return a word as the one text that an assignment or a here-document makes of it."""
        return self._expand(node, quoted=True).translate(_RESTORE)

    def _expand(self, node: Node, *, quoted: bool = False) -> str:  # noqa: PLR0911 - one case per kind of node
        text = self._text[node.start_byte : node.end_byte]
        match node.type:
            case "raw_string":
                return _QUOTES + text[1:-1].translate(_PROTECT)
            case "ansi_c_string":
                return _QUOTES + unescape(text[2:-1]).translate(_PROTECT)
            case "string":
                return _QUOTES + "".join(self._pieces(node, text, quoted=True))
            case "heredoc_body":
                return "".join(self._pieces(node, text, quoted=True, edges=0))
            case "simple_expansion":
                return self._inserted(self._value(text.lstrip()[1:]), quoted=quoted)
            case "expansion":
                return self._inserted(self._parameter(node), quoted=quoted)
            case "command_substitution" | "process_substitution":
                return self._inserted((self._substitute(node),), quoted=quoted)
            case "arithmetic_expansion":
                self._visit_substitutions(node)
                return self._unknowns.mark(Kind.FILLED)
            case "brace_expression":
                return text
        if node.named_child_count == 0:
            return _without_backslashes(text) if "\\" in text else text
        if node.type == "concatenation":
            return "".join(self._expand(child, quoted=quoted) for child in node.children)
        return "".join(self._pieces(node, text, quoted=quoted, edges=0))

    def _pieces(self, node: Node, text: str, *, quoted: bool, edges: int = 1) -> Iterator[str]:
        """Yield what the inside of a quoted text becomes; the grammar has no node for some of its blanks."""
        at = edges
        for child in node.named_children:
            start, end = child.start_byte - node.start_byte, child.end_byte - node.start_byte
            if child.type in {"string_content", "heredoc_content"}:
                continue
            yield self._literal(text[at:start])
            inner = text[start:end]
            yield inner[: len(inner) - len(inner.lstrip(" \t\n"))] if quoted else ""
            yield self._expand(child, quoted=quoted)
            at = end
        yield self._literal(text[at : len(text) - edges])

    def _literal(self, text: str) -> str:
        return re.sub(r"\\\n|\\([$`\"\\])", lambda pair: pair[1] or "", text).translate(_PROTECT)

    def _visit_substitutions(self, node: Node) -> None:
        pending = [node]
        while pending:
            child = pending.pop()
            if child.type in {"command_substitution", "process_substitution"}:
                self._substitute(child)
            else:
                pending += child.named_children

    def _value(self, name: str) -> Value:
        if name in {"@", "*"}:
            return self._world.get("@", (self._unknowns.mark(Kind.VARIABLE),))
        if name in self._world:
            return self._world[name][:1] or ("",)
        return (self._unknowns.mark(Kind.FILLED if name in _SET_BY_SHELL else Kind.VARIABLE),)

    def _inserted(self, value: Value, *, quoted: bool) -> str:
        if not quoted and self._separators:
            value = tuple(re.sub(f"[{re.escape(self._separators)}]+", _SPLIT, part) for part in value)
        text = _SPLIT.join(value) if len(value) > 1 else "".join(value)
        # Values in values double with each line: `a=$b$b; c=$a$a; …`.
        self._inserted_characters += len(text)
        if self._inserted_characters > TEXT_LIMIT:
            raise TooComplexError
        return text.translate(_PROTECT)

    def _parameter(self, node: Node) -> Value:
        """Return the value of `${…}`."""
        inside = node.children[1:-1]
        first = self._text[inside[0].start_byte : inside[0].end_byte] if inside else ""
        if first == "#" and len(inside) > 1:
            return (self._unknowns.mark(Kind.FILLED),)
        if first == "!" and len(inside) > 1:
            target = self._value(self._text[inside[1].start_byte : inside[1].end_byte])[0]
            return self._world.get(target, (self._unknowns.mark(Kind.OUTPUT),))
        name, value = self._subject(inside[0]) if inside else ("", ("",))
        operator = inside[1].type if len(inside) > 1 else ""
        if not operator:
            return value
        argument = "".join(self._expand(part, quoted=True) for part in inside[2:]).translate(_RESTORE)
        return self._operated(name, value, operator, argument)

    def _subject(self, node: Node) -> tuple[str, Value]:
        text = self._text[node.start_byte : node.end_byte]
        if node.type != "subscript":
            return text, self._value(text)
        name, _, index = text.rstrip("]").partition("[")
        elements = self._world.get(name)
        if elements is None:
            return name, (self._unknowns.mark(Kind.VARIABLE),)
        if index in {"@", "*"}:
            return name, elements
        if index.isdecimal() and int(index) < len(elements):
            return name, (elements[int(index)],)
        return name, (self._unknowns.mark(Kind.OUTPUT),)

    def _operated(self, name: str, value: Value, operator: str, argument: str) -> Value:
        known = "".join(value)
        unset = not self._unknowns.without(known, Kind.VARIABLE)
        match operator:
            case ":-" | "-" | ":=" | "=":
                if not unset:
                    return value
                if operator.endswith("="):
                    self._assign(name, (argument,))
                return (argument,) if argument else value
            case ":+" | "+":
                return (argument,) if known else ("",)
            case ":?" | "?":
                return (self._unknowns.mark(Kind.FILLED, self._unknowns.sources(known)),) if unset else value
            case "%" | "%%" | "#" | "##":
                return tuple(
                    part if is_unknown(part) else _stripped(part, operator, argument) for part in value
                )
        return value if unset else (self._unknowns.mark(Kind.OUTPUT, self._unknowns.sources(known)),)


def _without_backslashes(text: str) -> str:
    return re.sub(r"\\(.?)", lambda pair: pair[1].strip("\n").translate(_PROTECT), text, flags=re.DOTALL)


def _stripped(text: str, operator: str, pattern: str) -> str:
    """Return a text without the shortest or longest match of a glob at its start (`#`) or end (`%`)."""
    if has_unknown(pattern) or max(len(text), len(pattern)) > _STRIP_LIMIT:
        return text
    matches = re.compile(translate(pattern)).match
    at_start = operator[0] == "#"
    cuts = range(len(text) + 1)
    fits = [cut for cut in cuts if matches(text[:cut] if at_start else text[cut:])]
    if not fits:
        return text
    longest = len(operator) == 2
    cut = fits[-1] if at_start == longest else fits[0]
    return text[cut:] if at_start else text[:cut]


def _braces(template: str, unknowns: Unknowns) -> list[str]:
    """Return what `a{b,c}d` and `{1..3}` become, left to right."""
    done: list[str] = []
    pending = [template]
    characters = 0
    while pending:
        current = pending.pop()
        found = _first_braces(current, unknowns)
        start, end, choices = found or (0, 0, [])
        characters += len(current) * (1 + len(choices))
        if characters > 8 * TEXT_LIMIT:
            raise TooComplexError
        if found is None:
            done.append(current)
        else:
            pending += [current[:start] + choice + current[end:] for choice in reversed(choices)]
    return done


def _first_braces(text: str, unknowns: Unknowns) -> tuple[int, int, list[str]] | None:
    opened: list[tuple[int, list[int]]] = []
    found: tuple[int, int, list[str]] | None = None
    for at, character in enumerate(text):
        if character == "{":
            opened.append((at, []))
        elif character == "," and opened:
            opened[-1][1].append(at)
        elif character == "}" and opened:
            start, commas = opened.pop()
            choices = _choices(text, start, at, commas, unknowns)
            # The innermost first: the order of the words does not matter to any rule, the words do.
            if choices is not None:
                found = (start, at + 1, choices)
                break
    return found


def _choices(text: str, start: int, end: int, commas: list[int], unknowns: Unknowns) -> list[str] | None:
    if commas:
        edges = [start, *commas, end]
        return [text[a + 1 : b] for a, b in pairwise(edges)]
    sequence = _RANGE.fullmatch(text[start + 1 : end])
    if sequence is None:
        return None
    first, last = sequence[1], sequence[2]
    if first.lstrip("-").isdecimal() and last.lstrip("-").isdecimal():
        return [unknowns.mark(Kind.FILLED)]
    low, high = sorted((ord(first), ord(last)))
    return [chr(code) for code in range(low, high + 1)]

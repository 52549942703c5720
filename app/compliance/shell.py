"""Turn a text in the shell's language into the simple commands that it would run."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from tree_sitter import Node

from app.compliance.shell_builtins import printed
from app.compliance.shell_command import Command, Kind, TooComplexError, Unknowns, bounded, reserve
from app.compliance.shell_grammar import flat, parse
from app.compliance.shell_launchers import Code, Launch, Launcher
from app.compliance.shell_redirects import REDIRECTS, Redirects, output, redirects
from app.compliance.shell_scope import Scope
from app.compliance.shell_words import Value, Words

_PROCESSOR_SECONDS = 0.3
_DEPTH_LIMIT = 60

_SUBSTITUTIONS = frozenset({"command_substitution", "process_substitution"})
_SCOPED = _SUBSTITUTIONS | {"subshell"}
_OPTIONAL = frozenset({"if_statement", "while_statement", "c_style_for_statement", "case_statement", "list"})
_COMMANDS = frozenset({"command", "declaration_command", "unset_command"})


@dataclass(frozen=True, slots=True)
class _Context:
    """Where a command stands: what its input comes from, its function, and if it may be skipped."""

    upstream: tuple[Command, ...] = ()
    input: str | None = None
    function: str = ""
    parallel: bool = False
    optional: bool = False


class Shell:
    """Read texts as one shell would, one after the other: variables and functions stay."""

    def __init__(self, launchers: Mapping[str, Launcher]) -> None:
        self.commands: list[Command] = []
        self.unknowns = Unknowns()
        self._launchers = launchers
        self._scope = Scope()
        self._functions: dict[str, tuple[str, Node]] = {}
        self._active: set[str] = set()
        self._uncalled: dict[Node, tuple[str, str, _Context]] = {}
        self._text = ""
        self._depth = 0
        self._deadline = time.thread_time() + _PROCESSOR_SECONDS

    def read(self, text: str) -> list[Command]:
        """Return the commands of a text, those inside others included.

        Raises UnparsableError, and TooComplexError past the limits on size, nesting and time.
        """
        self._read(reserve(text), _Context())
        while self._uncalled:
            body, (name, self._text, context) = self._uncalled.popitem()
            self._run_body(name, body, context)
        self.commands += [Command((name,), multiplies=True) for name in self._scope.multiplying()]
        return self.commands

    def check_time(self) -> None:
        """Raise TooComplexError once judging has taken too much processor time."""
        if time.thread_time() > self._deadline:
            raise TooComplexError

    def _read(self, text: str, context: _Context) -> None:
        with_text, self._text = self._text, text
        self._visit(parse(text, self._deadline), context)
        self._text = with_text

    def _visit(self, node: Node, context: _Context) -> None:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise TooComplexError
        self.check_time()
        if node.type in _COMMANDS:
            self._simple(node, [], context)
        elif node.type == "redirected_statement":
            self._redirected(node, context)
        elif node.type == "pipeline":
            self._pipe([self._stage(child) for child in node.named_children], context)
        elif node.type == "function_definition":
            self._define(node, context)
        elif node.type == "variable_assignment":
            self._assign(node, context)
        elif node.type == "for_statement":
            self._loop(node, context)
        elif node.type in _SUBSTITUTIONS:
            self._substitute(node, context)
        elif node.type in _SCOPED:
            self._scoped(node, context)
        else:
            optional = context.optional or node.type in _OPTIONAL
            self._children(node, replace(context, optional=optional))
        self._depth -= 1

    def _children(self, node: Node, context: _Context) -> None:
        statements = flat(node)
        for at, child in enumerate(statements):
            if child.is_named:
                background = at + 1 < len(statements) and statements[at + 1].type == "&"
                self._visit(child, replace(context, parallel=True) if background else context)

    def _scoped(self, node: Node, context: _Context) -> None:
        directory = self._scope.directory
        self._children(node, context)
        self._scope.directory = directory

    def _stage(self, node: Node) -> Callable[[_Context], None]:
        return lambda context: self._visit(node, context)

    def _pipe(self, stages: Sequence[Callable[[_Context], None]], context: _Context) -> None:
        for stage in stages:
            start = len(self.commands)
            stage(replace(context, parallel=context.parallel or len(stages) > 1))
            got = tuple(self.commands[start:])
            context = replace(context, upstream=context.upstream + got, input=output(got))

    def _redirected(self, node: Node, context: _Context) -> None:
        attached = [child for child in node.named_children if child.type in REDIRECTS]
        bodies = [child for child in node.named_children if child.type not in REDIRECTS]
        rest = [
            child
            for redirect in attached
            if redirect.type == "heredoc_redirect"
            for child in redirect.named_children
            if not child.type.startswith("heredoc_") and child.type not in REDIRECTS | {"file_descriptor"}
        ]
        # `cat <<EOF | sh` hangs the rest of the pipeline below the here-document.
        piped = [
            child for child in rest if child.type == "pipeline" and child.children[0].type in {"|", "|&"}
        ]
        stages = [self._stage(stage) for each in piped for stage in each.named_children]
        self._pipe([lambda context: self._attach(bodies, attached, context), *stages], context)
        for child in rest:
            if child not in piped:
                self._visit(child, context)

    def _attach(self, bodies: Sequence[Node], attached: list[Node], context: _Context) -> None:
        """Visit a statement with the redirections that belong to it, or to the last command of its row."""
        kind = bodies[0].type if bodies else ""
        if kind in _COMMANDS:
            self._simple(bodies[0], attached, context)
        elif kind in {"pipeline", "list", "negated_command"}:
            # `a | sh <<EOF` gives the here-document to the whole pipeline.
            *others, last = [child for child in flat(bodies[0]) if child.is_named]
            visits = [self._stage(child) for child in others]
            visits.append(lambda context: self._attach([last], attached, context))
            if kind == "pipeline":
                self._pipe(visits, context)
            else:
                for visit in visits:
                    visit(context)
        else:
            found = self._redirects(attached, self._words(self._worlds(())[0], context), context)
            self._start([], context, found)
            for each in bodies:
                self._visit(each, replace(context, input=found.input, upstream=found.upstream))

    def _simple(self, node: Node, attached: list[Node], context: _Context) -> None:
        attached = [*attached, *(child for child in node.named_children if child.type in REDIRECTS)]
        words: list[Node] = []
        for child in node.children:
            if child.type == "variable_assignment":
                self._assign(child, context)
            elif child.type not in REDIRECTS:
                words.append(child)
        for world in self._worlds([*words, *attached]):
            start = len(self.commands)
            resolve = self._words(world, context)
            fields = [field for word in words for field in resolve.fields(word)]
            found = self._redirects(attached, resolve, context)
            self._start([*fields, *found.words], context, found)
            started = tuple(self.commands[start:])
            into = [word for word in words if self._slice(word).startswith(">(")]
            for receiver in [*found.receivers, *into]:
                inner = replace(context, upstream=found.upstream + started, input=output(started))
                self._visit(receiver, inner)

    def _redirects(self, nodes: Sequence[Node], resolve: Words, context: _Context) -> Redirects:
        return redirects(
            nodes, self._text, resolve, self.unknowns, Redirects(context.input, context.upstream)
        )

    def _start(self, words: Sequence[str], context: _Context, found: Redirects) -> None:
        """Note a command and what it starts in turn."""
        self.check_time()
        first = len(self.commands)
        context = replace(context, input=found.input, upstream=found.upstream)
        command = Command(tuple(words), tuple(found.writes), self._scope.directory, upstream=context.upstream)
        feeds: tuple[Command, ...] = ()
        if words:
            self._depth += 1
            self._run_builtin(command, context)
            launcher = self._launchers.get(command.name)
            if launcher is not None:
                feeds = self._launch(launcher, command, context)
            if command.words[0] in self._functions:
                self._call(command, context)
            self._depth -= 1
        runs = tuple(self.commands[first:])
        if words or found.writes:
            prints = printed(command.words, context.input)
            self.commands.append(replace(command, prints=prints, feeds=feeds, runs=runs))

    def _run_builtin(self, command: Command, context: _Context) -> None:
        operands = [word for word in command.words[1:] if not word.startswith("-")]
        if command.name in {"cd", "pushd"}:
            self._scope.enter(command.words[1:])
        elif command.name == "popd":
            self._scope.enter(["-"])
        elif command.name == "read":
            parts = (context.input or "").split(maxsplit=max(0, len(operands) - 1))
            for at, name in enumerate(operands):
                unread = self.unknowns.mark(Kind.VARIABLE, context.upstream)
                self._scope.assign(name, (parts[at].strip() if at < len(parts) else unread,))
        elif command.name == "shift" and not context.optional:
            self._scope.shift(int(operands[0]) if operands and operands[0].isdecimal() else 1)
        elif command.name == "set" and "--" in command.words:
            self._scope.set_positional(command.words[command.words.index("--") :])

    def _launch(self, launcher: Launcher, command: Command, context: _Context) -> tuple[Command, ...]:
        """Judge what a command starts; return the commands whose output it runs as code."""
        launch = launcher.launch(command.words[1:])
        for name, value in launch.assignments:
            self._scope.assign(name, (value,))
        inherited = Redirects(context.input, context.upstream)
        with self._scope.inside(launch.directory) if launch.directory else nullcontext():
            for words in launch.commands:
                self._start(self._with_input(words, launch, context), context, inherited)
        feeds: list[Command] = []
        codes = list(launch.code)
        if launch.reads_input:
            feeds += context.upstream
            codes += [Code(context.input)] if context.input is not None else []
        if launch.script is not None:
            # A script is code where a process substitution writes it.
            sources = self.unknowns.sources(launch.script)
            feeds += sources
            codes += [Code(text) for text in [output(sources)] if text is not None]
        for code in codes:
            feeds += self.unknowns.sources(code.text)
            if launcher.shell and code.text.strip() and not self.unknowns.are_output(code.text):
                self._run_code(code, context)
        return tuple(feeds)

    def _with_input(self, words: list[str], launch: Launch, context: _Context) -> list[str]:
        """Return the words of a command with those that `xargs` reads for it."""
        if not launch.appends:
            return words
        unread = self.unknowns.mark(Kind.VARIABLE, context.upstream)
        if launch.placeholder:
            text = unread if context.input is None else context.input.rstrip("\n")
            return [bounded(word.replace(launch.placeholder, text)) for word in words]
        return words + ([unread] if context.input is None else context.input.split())

    def _run_code(self, code: Code, context: _Context) -> None:
        directory = self._scope.directory
        with self._scope.bound(code.arguments) if code.arguments else nullcontext():
            self._read(code.text, context)
        self._scope.directory = directory

    def _call(self, command: Command, context: _Context) -> None:
        name = command.words[0]
        self._scope.note_call(context.function, name, parallel=context.parallel)
        if name in self._active:
            return
        text, body = self._functions[name]
        self._uncalled.pop(body, None)
        outer, self._text = self._text, text
        with self._scope.bound(command.words):
            self._run_body(name, body, context)
        self._text = outer

    def _run_body(self, name: str, body: Node, context: _Context) -> None:
        self._active.add(name)
        self._visit(body, replace(context, function=name, parallel=False, optional=False))
        self._active.discard(name)

    def _define(self, node: Node, context: _Context) -> None:
        name = node.child_by_field_name("name")
        body = node.child_by_field_name("body")
        if name is None or body is None:
            return
        called = self._text[name.start_byte : name.end_byte]
        self._functions[called] = (self._text, body)
        attached = [child for child in node.named_children if child.type in REDIRECTS]
        resolve = self._words(self._worlds(())[0], context)
        self._start([], context, self._redirects(attached, resolve, context))
        # A call says what `$1` and `$@` are, so its body waits for one; what nobody calls is judged last.
        self._uncalled[body] = (called, self._text, context)

    def _loop(self, node: Node, context: _Context) -> None:
        variable = node.child_by_field_name("variable")
        listed = [child for child in node.named_children if child.type not in {"variable_name", "do_group"}]
        body = node.child_by_field_name("body")
        if variable is not None and listed:
            name = self._text[variable.start_byte : variable.end_byte]
            for world in self._worlds(listed):
                resolve = self._words(world, context)
                for word in listed:
                    for field in resolve.fields(word):
                        self._scope.assign(name, (field,))
        if body is not None:
            self._visit(body, replace(context, optional=True))

    def _assign(self, node: Node, context: _Context) -> None:
        name = node.child_by_field_name("name")
        value = node.child_by_field_name("value")
        if name is None:
            return
        target = self._text[name.start_byte : name.end_byte].partition("[")[0]
        adds = any(child.type == "+=" for child in node.children)
        for world in self._worlds([value] if value is not None else []):
            resolve = self._words(world, context)
            if value is not None and value.type == "array":
                new: Value = tuple(field for each in value.named_children for field in resolve.fields(each))
                self._scope.assign(target, world.get(target, ()) + new if adds else new)
                continue
            text = resolve.text(value) if value is not None else ""
            if name.type == "subscript":
                self._scope.assign(target, (*world.get(target, ()), text))
            else:
                old = "".join(world.get(target, ())) if adds else ""
                self._scope.assign(target, (bounded(old + text),))

    def _substitute(self, node: Node, context: _Context) -> str:
        start = len(self.commands)
        text = self._text[node.start_byte : node.end_byte]
        inside = text.strip()
        if inside.startswith("`") and "\\" in inside:
            # Between backquotes a backslash goes before the inner text is parsed.
            directory = self._scope.directory
            self._depth += 1
            self._read(re.sub(r"\\([`$\\])", r"\1", inside[1:-1]), context)
            self._depth -= 1
            self._scope.directory = directory
        else:
            self._scoped(node, context)
        got = tuple(self.commands[start:])
        single = node.named_child_count == 1 and node.named_children[0].type in {
            *_COMMANDS,
            "redirected_statement",
        }
        if single and got and got[-1].prints is not None and node.type == "command_substitution":
            return got[-1].prints.rstrip("\n")
        # Its commands read what the command around them would: `curl … | bash -c "$(cat)"`.
        return self.unknowns.mark(Kind.OUTPUT, got + context.upstream)

    def _words(self, world: Mapping[str, Value], context: _Context) -> Words:
        return Words(
            self._text,
            world,
            self.unknowns,
            lambda node: self._substitute(node, context),
            self._scope.assign,
        )

    def _worlds(self, nodes: Sequence[Node]) -> list[dict[str, Value]]:
        return self._scope.worlds([self._slice(node) for node in nodes])

    def _slice(self, node: Node) -> str:
        return self._text[node.start_byte : node.end_byte]

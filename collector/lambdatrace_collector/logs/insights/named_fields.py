"""What a query names: the fields of its commands, and its regular expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.syntax import (
    AddTotals,
    Call,
    Command,
    Dedup,
    Diff,
    Display,
    Field,
    Fields,
    Filter,
    Like,
    Node,
    Parse,
    Pattern,
    Query,
    Regex,
    Sort,
    Stats,
    Text,
    Unmask,
    Unnest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_FIELDS = ("@timestamp", "@message")
POINTER = "@ptr"


def fields_of_events(query: Query) -> dict[str, Field]:
    """The fields that may be events' own: what is named before there are no events any more."""
    found = {name: Field((name,)) for name in (*DEFAULT_FIELDS, POINTER)}
    for command, _ in query.commands:
        for expression in _expressions(command):
            found.update((node.name, node) for node in _walk(expression) if isinstance(node, Field))
        if isinstance(command, (Stats, Pattern, Diff)):
            break
    return found


def regexes_of(query: Query) -> list[Regex]:
    """Every regular expression of the query, which the engine must be able to run."""
    found: list[Regex] = []
    for command, _ in query.commands:
        if isinstance(command, Parse):
            found.append(command.pattern)
        for expression in _expressions(command):
            found.extend(filter(None, map(_regex, _walk(expression))))
    return found


def _regex(node: Node) -> Regex | None:
    """The regular expression that a node matches with."""
    if isinstance(node, Like) and isinstance(node.pattern, Regex):
        return node.pattern
    if isinstance(node, Call) and node.function == "regexreplace":
        pattern = node.arguments[1] if len(node.arguments) > 1 else None
        return Regex(pattern.value, span=pattern.span) if isinstance(pattern, Text) else None
    return None


def _expressions(command: Command) -> list[Node]:
    if isinstance(command, (Fields, Display)):
        return [output.expression for output in command.outputs]
    if isinstance(command, Filter):
        return [command.condition]
    if isinstance(command, (Parse, Unnest, Pattern)):
        return [command.source]
    if isinstance(command, Stats):
        return [output.expression for output in command.aggregates + command.keys]
    if isinstance(command, Sort):
        return [key.expression for key in command.keys]
    if isinstance(command, (Dedup, Unmask, AddTotals)):
        return list(command.fields)
    return []


def _walk(node: Node) -> Iterator[Node]:
    """A node and all below it, without recursion: a query may be nested as deep as it is long."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        for value in vars(one).values():
            if isinstance(value, Node):
                waiting.append(value)
            elif isinstance(value, tuple):
                waiting.extend(item for item in value if isinstance(item, Node))

"""`@requestId` and `@xrayTraceId`: their columns, and what a filter on them asks of messages.

To take an id out of a message costs ten times what it costs to see that a text is not in it. A
filter on an id therefore stands where it is, and its text is looked for where events are read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.syntax import (
    Binary,
    Display,
    Field,
    Fields,
    Filter,
    Member,
    Node,
    Query,
    Sort,
    Text,
)
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    call,
    constant_number,
    integer,
    string,
)
from lambdatrace_collector.store.compiled_query import Column, Null, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace_collector.store.compiled_query import Expression

COLUMNS = ("request_id", "trace_id")
REQUEST_ID, TRACE_ID = "@requestId", "@xrayTraceId"

_XRAY_TRACE_ID = re.compile(r"1-[0-9a-f]{8}-([0-9a-f]{24})")
# In JSON, other characters may be written as escapes.
_PLAIN = re.compile(r"[A-Za-z0-9._:-]+")
TEXTS_MAX = 200  # multiSearchAny takes at most 255


def xray_trace_id(trace_id: str) -> str:
    """32 hex digits as X-Ray writes them."""
    return f"1-{trace_id[:8]}-{trace_id[8:]}"


def link_fields() -> dict[str, Value]:
    """What the fields are, of the columns of events."""
    request_id, trace_id = map(Column, COLUMNS)
    time = call("substring", trace_id, integer(1), integer(8))
    rest = call("substring", trace_id, integer(9))
    written = call("concat", string("1-"), time, string("-"), rest)
    return {
        REQUEST_ID: Value(call("nullIf", request_id, string("")), Kind.TEXT),
        TRACE_ID: Value(
            call("if", call("empty", trace_id), Null(), written),
            Kind.TEXT,
        ),
    }


def link_conditions(query: Query) -> list[Expression]:
    """What the query's first filters on ids demand of the messages, one of some texts in each."""
    return [
        call(_SEARCHES[name], Column("message"), Parameter(found, "Array(String)"))
        for part in _demanded(query)
        for name, texts in _equal_texts(part)
        if (found := _searched(name, texts))
    ]


def _demanded(query: Query) -> Iterator[Node]:
    """The conditions that each event of the results fulfils, before a name can mean another."""
    for command, _ in query.commands:
        if isinstance(command, (Fields, Display)):
            if any(output.has_alias for output in command.outputs):
                return
        elif isinstance(command, Filter):
            yield from _conjuncts(command.condition)
        elif not isinstance(command, Sort):
            return


def _conjuncts(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Binary) and one.operator == "and":
            waiting += (one.right, one.left)
        else:
            yield one


def _equal_texts(node: Node) -> Iterator[tuple[str, tuple[Node, ...]]]:
    """The field that a condition holds against constants, and those."""
    if isinstance(node, Binary) and node.operator == "=":
        for field, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(field, Field):
                yield field.name, (other,)
    elif isinstance(node, Member) and not node.is_negated and isinstance(node.operand, Field):
        yield node.operand.name, node.items


def _searched(name: str, given: tuple[Node, ...]) -> list[str]:
    """The texts of which an event must have one, to fulfil the condition; none when unknown."""
    texts = [node.value for node in given if isinstance(node, Text)]
    if len(texts) < len(given) or len(texts) > TEXTS_MAX:
        return []
    if name == REQUEST_ID:
        is_plain = all(_PLAIN.fullmatch(text) and constant_number(text) is None for text in texts)
        return texts if is_plain else []
    if name == TRACE_ID:
        # However it is written, these digits stand together.
        matches = [match for text in texts if (match := _XRAY_TRACE_ID.fullmatch(text))]
        return [match[1] for match in matches] if len(matches) == len(texts) else []
    return []


_SEARCHES = {REQUEST_ID: "multiSearchAny", TRACE_ID: "multiSearchAnyCaseInsensitive"}

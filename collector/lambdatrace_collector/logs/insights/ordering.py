"""How rows are sorted by a value.

Source: CloudWatch Logs user guide, `sort`.
"""

from __future__ import annotations

from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_number,
    as_text,
    call,
    natural_order,
)
from lambdatrace_collector.store.compiled_query import Order


def orders(value: Value, *, is_descending: bool) -> list[Order]:
    """The keys of the engine that sort by a value."""
    if value.kind.is_numeric:
        return [Order(value.expression, is_descending)]
    text = as_text(value)
    numeric = as_number(Value(text, Kind.TEXT))
    return [
        # Of text, what is no number comes before all numbers.
        Order(call("isNull", text)),
        Order(call("isNotNull", numeric), is_descending),
        Order(numeric, is_descending),
        Order(natural_order(text), is_descending),
    ]

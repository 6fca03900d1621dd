"""The event and the response of an invocation as text for its span: bounded, redacted JSON.

The event is copied before the handler runs, since the handler may change it, and the copy ends
where the text would be cut anyway; all else is done after the response.
"""

from __future__ import annotations

import json

from lambdatrace.plain import CUT, plain_copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.records import Span
    from lambdatrace.redaction import Redaction

# OpenTelemetry's conventions have no names for these; `faas.` is where its other facts of an
# invocation are.
EVENT, RESPONSE = "faas.event", "faas.response"

_COPIES_MAX = 4
_CUT_SIZE = 32  # what the words for what was left out may add


class Payload:
    """The event of an invocation as it came; each of both texts has at most `size_max` bytes."""

    __slots__ = ("_event", "_size_max")

    def __init__(self, event: Any, size_max: int) -> None:
        self._event = plain_copy(event, size_max)
        self._size_max = size_max

    def describe_event(self, span: Span, redaction: Redaction | None) -> None:
        """Set the event's attribute, unless the function's code has set one of the name."""
        text = payload_text(self._event, redaction, self._size_max)
        span.attributes.setdefault(EVENT, text)

    def describe_response(self, span: Span, result: Any, redaction: Redaction | None) -> None:
        """Set the response's attribute; a handler that gave nothing gets none."""
        if result is not None:
            text = payload_text(plain_copy(result, self._size_max), redaction, self._size_max)
            span.attributes.setdefault(RESPONSE, text)


def payload_text(copied: Any, redaction: Redaction | None, size_max: int) -> str:
    """A `plain_copy` as JSON without what `redaction` finds, at most `size_max` bytes.

    What is longer, for its quotes and letters beyond ASCII, is copied shorter, so that it stays
    JSON; only what has no such copy is cut.
    """
    if redaction is not None:
        copied = redaction.value(copied)
    room = size_max
    encoded = b""
    for _ in range(_COPIES_MAX):
        text = json.dumps(copied, ensure_ascii=False, separators=(",", ":"))
        encoded = text.encode("utf-8", "replace")
        if len(encoded) <= size_max:
            return text
        room = max(room * size_max // len(encoded) - _CUT_SIZE, 0)
        copied = plain_copy(copied, room)
    return encoded[: max(size_max - len(CUT.encode()), 0)].decode("utf-8", "ignore") + CUT

"""The event and the response of an invocation as text for its span: bounded, redacted JSON.

The event is copied before the handler runs, since the handler may change it, and the copy ends
where the text would be cut anyway; all else is done after the response.
"""

from __future__ import annotations

import json

from lambdatrace.redaction import CUT, DEPTH_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.records import Span
    from lambdatrace.redaction import Redaction

# OpenTelemetry's conventions have no names for these; `faas.` is where its other facts of an
# invocation are.
EVENT, RESPONSE = "faas.event", "faas.response"

_SCALAR_SIZE = 8  # what a number counts, with its comma


class _Room:
    """How many more characters the copy may have."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class Payload:
    """The event of an invocation as it came; each of both texts has at most `size_max` bytes."""

    __slots__ = ("_event", "_size_max")

    def __init__(self, event: Any, size_max: int) -> None:
        self._event = snapshot(event, size_max)
        self._size_max = size_max

    def describe_event(self, span: Span, redaction: Redaction | None) -> None:
        """Set the event's attribute, unless the function's code has set one of the name."""
        text = payload_text(self._event, redaction, self._size_max)
        span.attributes.setdefault(EVENT, text)

    def describe_response(self, span: Span, result: Any, redaction: Redaction | None) -> None:
        """Set the response's attribute; a handler that gave nothing gets none."""
        if result is not None:
            text = payload_text(snapshot(result, self._size_max), redaction, self._size_max)
            span.attributes.setdefault(RESPONSE, text)


def snapshot(value: Any, size_max: int) -> Any:
    """A copy of `value` in JSON's types, of about `size_max` characters and ten levels at most.

    Where something was left out stands CUT. What JSON has no type for is told by its type alone: no
    code of the user's is run.
    """
    return _copy(value, 0, _Room(size_max))


def payload_text(copied: Any, redaction: Redaction | None, size_max: int) -> str:
    """A `snapshot` as JSON without what `redaction` finds, at most `size_max` bytes."""
    if redaction is not None:
        copied = redaction.value(copied)
    text = json.dumps(copied, ensure_ascii=False, separators=(",", ":"))
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= size_max:
        return text
    return encoded[: max(size_max - len(CUT.encode()), 0)].decode("utf-8", "ignore") + CUT


def _copy(value: Any, depth: int, room: _Room) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value, room)
    room.left -= _SCALAR_SIZE
    if value is None or kind in (bool, int):
        return value
    if kind is float:
        return value if value - value == 0 else str(value)  # JSON has no infinity and no NaN
    if kind is dict:
        return _dict(value, depth, room) if depth < DEPTH_MAX else CUT
    if kind in (list, tuple):
        return _list(value, depth, room) if depth < DEPTH_MAX else CUT
    return f"<{kind.__module__}.{kind.__qualname__}>"


def _text(text: str, room: _Room) -> str:
    copied = text if len(text) <= room.left else text[: max(room.left, 0)] + CUT
    room.left -= len(copied) + 3
    return copied


def _dict(values: dict[Any, Any], depth: int, room: _Room) -> dict[str, Any]:
    copied: dict[str, Any] = {}
    for key, item in values.items():
        if room.left <= 0:
            copied[CUT] = f"{len(values) - len(copied)} more"
            break
        name = _text(key if type(key) is str else str(type(key)), room)
        copied[name] = _copy(item, depth + 1, room)
    return copied


def _list(values: list[Any] | tuple[Any, ...], depth: int, room: _Room) -> list[Any]:
    copied: list[Any] = []
    for item in values:
        if room.left <= 0:
            copied.append(f"{CUT} {len(values) - len(copied)} more")
            break
        copied.append(_copy(item, depth + 1, room))
    return copied

"""Reading values of a JSON document that anyone may have written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class SegmentError(Exception):
    """A document is no segment. `segment_id` is what it calls itself, where that can be read."""

    def __init__(self, segment_id: str, code: str, reason: str) -> None:
        super().__init__(reason)
        self.segment_id = segment_id
        self.code = code


def members(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The members of a field that should be an object; none when it is not."""
    found = value.get(field)
    return {text(key): item for key, item in found.items()} if isinstance(found, dict) else {}


def objects(value: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """The objects in a field that should be a list of them."""
    found = value.get(field)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def text(value: Any) -> str:
    """Text as UTF-8 can have it; empty for what is no text."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """A number; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None

"""Attribute values as OpenTelemetry takes them: copied, so that what changes later does not count.

Source: OpenTelemetry specification, "Attribute"; `opentelemetry.attributes` of the Python API, as
the SDK uses it: what is of no attribute type becomes its `str`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLAIN = frozenset((str, bool, int, float, bytes, type(None)))
_DEPTH_MAX = 16  # a list that contains itself must end


def clean_attributes(attributes: Mapping[Any, Any] | None) -> tuple[dict[str, Any], int]:
    """The attributes that can be recorded, and how many could not, for want of a key."""
    if not attributes:
        return {}, 0
    cleaned = _clean_mapping(attributes, 0)
    return cleaned, len(attributes) - len(cleaned)


def clean_name(name: Any) -> str:
    """`name` as a span can have it: what is none is empty, as the SDK's OTLP exporter writes it.

    Raises what its own `__str__` raises.
    """
    return name if isinstance(name, str) else "" if name is None else str(name)


def clean_value(value: Any, depth: int = 0) -> Any:
    """`value` as it is now: sequences as tuples, mappings as new dicts, what else there is as str.

    Raises what the value's own `__str__` raises.
    """
    if type(value) in _PLAIN or isinstance(value, (str, int, float, bytes)):
        return value
    if depth < _DEPTH_MAX:
        if isinstance(value, Sequence):
            return tuple([clean_value(item, depth + 1) for item in value])
        if isinstance(value, Mapping):
            return _clean_mapping(value, depth + 1)
    return str(value) if _has_text(value) else None


def _clean_mapping(mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    cleaned = {}
    for key, value in mapping.items():
        if key and (isinstance(key, str) or _has_text(key)):
            cleaned[key if isinstance(key, str) else str(key)] = clean_value(value, depth)
    return cleaned


def _has_text(value: Any) -> bool:
    """Whether `str` says more of it than its type and address."""
    kind: Any = type(value)
    return kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__

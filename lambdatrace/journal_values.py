"""Values of an entry that `marshal` cannot write as they are, or not in bounded time."""

from __future__ import annotations

from lambdatrace.journal import SCALARS
from lambdatrace.plain import bounded, items_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ENTRY_DEPTH = 4  # levels of an entry that are its own; what is deeper is bounded


def plain(value: Any, depth: int = 0) -> Any:
    """`value` in types that `marshal` can write; a stack trace only as far as it is written out."""
    if value is None or type(value) in SCALARS:
        return value
    if depth < ENTRY_DEPTH:
        if isinstance(value, dict):
            return {key_of(key): plain(item, depth + 1) for key, item in dict.items(value)}
        if isinstance(value, tuple):
            return tuple(plain(item, depth + 1) for item in tuple.__iter__(value))
        if isinstance(value, (list, set, frozenset)):
            return [plain(item, depth + 1) for item in items_of(value)]
    written = getattr(value, "written", None)
    if type(written) is str:
        return written
    return bounded(value)


def writable(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """`attributes` with keys and values that can be written in bounded time."""
    return {key_of(key): plain(value, ENTRY_DEPTH) for key, value in attributes.items()}


def key_of(key: Any) -> Any:
    """A key of a mapping, as it is or as its text."""
    return key if type(key) in SCALARS else str(plain(key, ENTRY_DEPTH))

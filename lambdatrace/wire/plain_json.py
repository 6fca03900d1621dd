"""Any value → JSON text that every parser takes: ASCII, no NaN, no lone surrogates, no cycle."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from math import isfinite

from lambdatrace.plain import INT64_MAX, INT64_MIN, items_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEPTH_MAX = 16
ITEMS_MAX = 5_000  # of one value, in all its lists and mappings
CUT = "…"  # in place of what is beyond these

_DIGITS_MAX = 100  # of an integer that is written as text


def json_text(value: Any) -> str:
    """`value` as JSON; what JSON has no type for, as the text of its `str`.

    Not finite floats and integers over 64 bits become text too, since parsers refuse or change
    them. Beyond DEPTH_MAX and ITEMS_MAX there is CUT. Raises what a value's `__str__` raises.
    """
    return _text(value, 0, [ITEMS_MAX])


def _text(value: Any, depth: int, room: list[int]) -> str:
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        # Through `float`, since a subclass (NumPy's) writes itself in its own way.
        return repr(float(value)) if isfinite(value) else f'"{float(value)!r}"'
    if not isinstance(value, (dict, list, tuple, set, frozenset)):
        return quoted(str(value))
    items = dict.items(value) if isinstance(value, dict) else items_of(value)
    room[0] -= len(items)
    if depth >= DEPTH_MAX or room[0] < 0:
        return quoted(CUT)
    if isinstance(value, dict):
        members = {quoted(str(key)): _text(item, depth + 1, room) for key, item in items}
        return "{" + ",".join(f"{key}:{text}" for key, text in members.items()) + "}"
    return "[" + ",".join(_text(item, depth + 1, room) for item in items) + "]"


def quoted(text: str) -> str:
    """`text` as a JSON string; a lone surrogate, which is no character, becomes `?`."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return encode_basestring_ascii(text)


def _integer(value: int) -> str:
    if INT64_MIN <= value <= INT64_MAX:
        return int.__repr__(value)
    # In hex when it is long: Python refuses to write over 4300 decimal digits.
    return (
        f'"{int(value)}"' if value.bit_length() < _DIGITS_MAX else f'"{hex(value)[:_DIGITS_MAX]}"'
    )


_CONSTANTS = {None: "null", True: "true", False: "false"}

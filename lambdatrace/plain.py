"""Bounded copies of any value in JSON's own types, for what may change before it leaves."""

from __future__ import annotations

from lambdatrace.guard import let_through

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1  # what OTLP, and a parser of JSON, takes
CUT = "…"  # in place of what is beyond the limits
DEPTH_MAX = 10
ATTRIBUTE_DEPTH_MAX = 16
ATTRIBUTE_ITEMS_MAX = 1_000  # of one attribute, in all its lists and mappings
ATTRIBUTE_SIZE_MAX = 1 << 20  # characters of one attribute's lists and mappings
_BITS_MAX = 1_024  # of an integer that is written in decimal
_DIGITS_MAX = 100  # of one that is not
_INT_MIN, _INT_MAX = -(1 << 1024), 1 << 1024
_SCALAR_SIZE = 8  # what a number counts, with its comma


def type_alone(value: Any) -> str:
    """What `value` is, without running any code of its own."""
    kind = type(value)
    return f"<{kind.__module__}.{kind.__qualname__}>"


def text_of(value: Any) -> str:
    """`value` as its `str`; where that fails, its type."""
    try:
        return str(value)
    except BaseException as failure:  # noqa: BLE001 - a user's __str__ may do anything
        let_through(failure)
        return type_alone(value)


def items_of(values: Any) -> Any:
    """A list, tuple or set by what it holds, not by what a subclass makes of it."""
    kinds: tuple[Any, ...] = (list, tuple, set, frozenset)
    if type(values) in kinds:
        return values
    kind = next(kind for kind in kinds if isinstance(values, kind))
    return list(kind.__iter__(values))


def plain_copy(value: Any, size_max: int, as_text: Callable[[Any], str] = type_alone) -> Any:
    """A copy of `value` of str, int, float, bool, None, list and dict, which JSON can have.

    It has about `size_max` bytes of UTF-8 and DEPTH_MAX levels at most; where something was left
    out stands CUT. `as_text` gives the text of what is of no such type, a key among them.
    """
    return _Copy(size_max, as_text).of(value, 0)


class _Copy:
    """One copy being made: `left` is how many more bytes of UTF-8 it may have."""

    __slots__ = ("as_text", "left")

    def __init__(self, size_max: int, as_text: Callable[[Any], str]) -> None:
        self.left = size_max
        self.as_text = as_text

    def of(self, value: Any, depth: int) -> Any:
        # Subclasses by what they hold, not by what they make of it.
        if isinstance(value, str):
            return self.text(str.__str__(value))
        self.left -= _SCALAR_SIZE
        if value is None or value is True or value is False:
            return value
        if isinstance(value, int):
            # Python refuses to write one out that is much longer.
            return int.__int__(value) if _INT_MIN < value < _INT_MAX else CUT
        if isinstance(value, float):
            # JSON has no infinity and no NaN.
            return float.__float__(value) if value - value == 0 else float.__repr__(value)
        if isinstance(value, dict):
            return self.mapping(value, depth + 1) if depth < DEPTH_MAX else CUT
        if isinstance(value, (list, tuple, set, frozenset)):
            return self.sequence(value, depth + 1) if depth < DEPTH_MAX else CUT
        return self.text(self.as_text(value))

    def text(self, text: str) -> str:
        size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if size > self.left:
            kept = text[: max(self.left, 0)].encode("utf-8", "replace")[: max(self.left, 0)]
            text = kept.decode("utf-8", "ignore") + CUT
            size = len(kept) + len(CUT)
        self.left -= size + 3
        return text

    def mapping(self, values: dict[Any, Any], depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, item in dict.items(values):
            if self.left <= 0:
                copied[CUT] = f"{dict.__len__(values) - len(copied)} more"
                break
            name = self.text(self.key(key))
            copied[name] = self.of(item, depth)
        return copied

    def key(self, key: Any) -> str:
        """A key as JSON writes it; bytes as the text they hold, to be found by its name."""
        if isinstance(key, str):
            return str.__str__(key)
        if isinstance(key, bytes):
            return bytes.decode(key, "utf-8", "replace")
        if key is None or key is True or key is False:
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, int):
            return int.__repr__(key) if _INT_MIN < key < _INT_MAX else CUT
        return float.__repr__(key) if isinstance(key, float) else self.as_text(key)

    def sequence(self, values: Any, depth: int) -> list[Any]:
        copied: list[Any] = []
        values = items_of(values)
        for item in values:
            if self.left <= 0:
                copied.append(f"{CUT} {len(values) - len(copied)} more")
                break
            copied.append(self.of(item, depth))
        return copied


def bounded(value: Any) -> Any:
    """`value` of an attribute as str, bool, int, float, bytes, None, list and dict.

    What is of no such type is its `str`, and where that fails, its type. Of the items and levels
    beyond ATTRIBUTE_ITEMS_MAX, ATTRIBUTE_SIZE_MAX and ATTRIBUTE_DEPTH_MAX there is how many.
    """
    return _Bounded(ATTRIBUTE_ITEMS_MAX).of(value, 0)


def as_it_is_now(value: Any) -> Any:
    """What `bounded` gives of `value`, whose owner may go on to change it.

    It leaves room in `bounded` for what it says itself of what was left out.
    """
    return _Bounded(ATTRIBUTE_ITEMS_MAX - ATTRIBUTE_DEPTH_MAX).of(value, 0)


class _Bounded:
    """One value being bounded: `items` and `left` are how many more it may have, of characters."""

    __slots__ = ("items", "left")

    def __init__(self, items_max: int) -> None:
        self.items = items_max
        self.left = ATTRIBUTE_SIZE_MAX

    def of(self, value: Any, depth: int) -> Any:
        # Subclasses by what they hold, not by what they make of it.
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(str.__str__(value), depth)
        if isinstance(value, int):
            number = int.__int__(value)
            # In hex: Python refuses to write over 4300 decimal digits.
            long = number.bit_length() > _BITS_MAX
            return hex(number)[:_DIGITS_MAX] + CUT if long else number
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
        if isinstance(value, (dict, list, tuple)):
            if depth >= ATTRIBUTE_DEPTH_MAX:
                size = dict.__len__(value) if isinstance(value, dict) else len(items_of(value))
                return f"{CUT} {size} items"
            if isinstance(value, dict):
                return self.mapping(value, depth + 1)
            return self.sequence(value, depth + 1)
        try:
            text = str.__str__(str(value))
        except BaseException as failure:  # noqa: BLE001 - a user's __str__ may do anything
            let_through(failure)
            text = type_alone(value)
        return self.text(text, depth)

    def text(self, text: str, depth: int) -> str:
        if not depth:
            return text
        copied = text if len(text) <= self.left else text[: max(self.left, 0)] + CUT
        self.left -= len(copied)
        return copied

    def mapping(self, values: dict[Any, Any], depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, item in dict.items(values):
            if self.items <= 0:
                copied[CUT] = f"{dict.__len__(values) - len(copied)} more"
                break
            self.items -= 1
            name = self.of(key, ATTRIBUTE_DEPTH_MAX)
            if isinstance(name, bytes):
                name = name.decode("utf-8", "replace")
            copied[str(name)] = self.of(item, depth)
        return copied

    def sequence(self, values: Any, depth: int) -> list[Any]:
        copied: list[Any] = []
        values = items_of(values)
        for item in values:
            if self.items <= 0:
                copied.append(f"{CUT} {len(values) - len(copied)} more")
                break
            self.items -= 1
            copied.append(self.of(item, depth))
        return copied

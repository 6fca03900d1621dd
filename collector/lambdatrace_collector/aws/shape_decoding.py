"""From parsed JSON or CBOR to an operation's parameters, by the shapes of botocore's models.

Decoders are built once per shape: a PutLogEvents request has 20,000 values to look at. They raise
`Mismatch`, which gathers the path to the value only where there is something wrong.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.unicode import is_unicode
from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Decoder = Callable[[Any], Any]

TIME_MAX_S = 253_402_300_799  # the end of the year 9999
INTEGER_MAX = 2**31
LONG_MAX = 2**63
SHOWN_CHARACTERS_MAX = 100

# A function may log half of a surrogate pair: its batch is stored, with that half replaced.
_REPAIRED_SHAPE = "EventMessage"
_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Mismatch(Exception):  # noqa: N818 - caught where it becomes AWS's error
    """A value is not of its shape's type; `path` grows outwards as the decoders give up."""

    def __init__(self, value: Any, expected: str) -> None:
        super().__init__(expected)
        self.value = value
        self.expected = expected
        self.path: list[str] = []

    def sentence(self) -> str:
        """What is wrong and where."""
        place = ".".join(reversed(self.path)) or "the body"
        return f"{place} is {shown(self.value)}: expected {self.expected}"


class ShapeDecoder:
    """Decodes values by shape. `scalars` are the decoders of the shape types that differ between
    formats; the others are the same for all.
    """

    def __init__(self, scalars: Mapping[str, Decoder]) -> None:
        self._scalars = {**_SCALARS, **scalars}
        self._decoders: dict[str, Decoder] = {}

    def decode(self, shape: Any, value: Any) -> Any:
        """The value as `Call` has it. Raises AwsError SerializationException."""
        try:
            return self._decoder(shape)(value)
        except Mismatch as mismatch:
            raise serialization_error(mismatch.sentence()) from mismatch

    def _decoder(self, shape: Any) -> Decoder:
        decoder = self._decoders.get(shape.name)
        if decoder is None:
            # Registered before it is built, so that a shape may hold itself.
            self._decoders[shape.name] = self._later(shape.name)
            decoder = self._decoders[shape.name] = self._build(shape)
        return decoder

    def _later(self, name: str) -> Decoder:
        def decode(value: Any) -> Any:
            return self._decoders[name](value)

        return decode

    def _build(self, shape: Any) -> Decoder:
        if shape.type_name == "structure":
            members = {
                member.serialization.get("name", name): (name, self._decoder(member))
                for name, member in shape.members.items()
            }
            return structure_decoder(members)
        if shape.type_name == "list":
            return list_decoder(self._decoder(shape.member))
        if shape.type_name == "map":
            return map_decoder(self._decoder(shape.key), self._decoder(shape.value))
        if shape.name == _REPAIRED_SHAPE:
            return decode_any_text
        return self._scalars[shape.type_name]


def structure_decoder(members: Mapping[str, tuple[str, Decoder]]) -> Decoder:
    """Decodes a structure. `members` are the names and decoders, by the name on the wire.

    Unknown members are ignored and null counts as absent: clients may be newer than the model.
    """

    def decode(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Mismatch(value, "a structure")
        decoded = {}
        for wire_name, item in value.items():
            if item is None or wire_name not in members:
                continue
            name, decode_member = members[wire_name]
            try:
                decoded[name] = decode_member(item)
            except Mismatch as mismatch:
                mismatch.path.append(name)
                raise
        return decoded

    return decode


def list_decoder(decode_member: Decoder) -> Decoder:
    """Decodes a list."""

    def decode(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Mismatch(value, "a list")
        try:
            return [decode_member(item) for item in value]
        except Mismatch as mismatch:
            mismatch.path.append(_place(decode_member, value))
            raise

    return decode


def _place(decode_member: Decoder, items: list[Any]) -> str:
    """The number, from 1, of the first of `items` that is wrong."""
    for place, item in enumerate(items, start=1):
        try:
            decode_member(item)
        except Mismatch:
            return str(place)
    return "?"


def map_decoder(decode_key: Decoder, decode_value: Decoder) -> Decoder:
    """Decodes a map."""

    def decode(value: Any) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise Mismatch(value, "a map")
        decoded = {}
        for key, item in value.items():
            name = decode_key(key)
            try:
                decoded[name] = decode_value(item)
            except Mismatch as mismatch:
                mismatch.path.append(shown(key))
                raise
        return decoded

    return decode


def decode_any_text(value: Any) -> str:
    """Text, also with half of a surrogate pair."""
    if not isinstance(value, str):
        raise Mismatch(value, "a string")
    return value


def decode_text(value: Any) -> str:
    """Text that UTF-8 can write."""
    if not isinstance(value, str):
        raise Mismatch(value, "a string")
    if not value.isascii() and not is_unicode(value):
        raise Mismatch(value, "text without half of a surrogate pair")
    return value


def decode_integer(value: Any) -> int:
    """An integer of 32 bits."""
    number = decode_long(value)
    if not -INTEGER_MAX <= number < INTEGER_MAX:
        raise Mismatch(value, "an integer of 32 bits")
    return number


def decode_long(value: Any) -> int:
    """An integer of 64 bits; a number without fraction counts as one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Mismatch(value, "an integer")
    if isinstance(value, float) and not value.is_integer():
        raise Mismatch(value, "an integer")
    if not -LONG_MAX <= value < LONG_MAX:
        raise Mismatch(value, "an integer of 64 bits")
    return int(value)


def decode_double(value: Any) -> float:
    """A number; those that JSON has no digits for come by their names."""
    if isinstance(value, float):
        return value
    if isinstance(value, str) and value in _NOT_NUMBERS:
        return _NOT_NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, int):
        raise Mismatch(value, "a number")
    try:
        return float(value)
    except OverflowError as error:
        raise Mismatch(value, "a double") from error


def decode_boolean(value: Any) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise Mismatch(value, "a boolean")
    return value


def decode_base64(value: Any) -> bytes:
    """Bytes, in base64."""
    try:
        return base64.b64decode(decode_text(value), validate=True)
    except ValueError as error:
        raise Mismatch(value, "base64") from error


def decode_seconds(value: Any) -> float:
    """A time, in seconds since 1970."""
    if isinstance(value, str):
        raise Mismatch(value, "a time in seconds since 1970")
    seconds = decode_double(value)
    if not abs(seconds) <= TIME_MAX_S:  # NaN too is neither
        raise Mismatch(value, "a time in seconds since 1970")
    return seconds


def shown(value: Any) -> str:
    """A value in an error: its beginning, or what it is where it could be of any depth or size."""
    if isinstance(value, dict):
        return "a structure"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write integers of over 4,300 digits.
        return "an integer of over 64 bits" if abs(value) > 2**64 else f"'{value}'"
    if not isinstance(value, (str, bytes, float, bool)):
        return "of another type"
    text = value[: SHOWN_CHARACTERS_MAX + 1] if isinstance(value, (str, bytes)) else str(value)
    return repr(text[:SHOWN_CHARACTERS_MAX])


def serialization_error(message: str) -> AwsError:
    """AWS's error for a body that is not of its protocol or its shapes."""
    return AwsError("SerializationException", message)


_SCALARS: dict[str, Decoder] = {
    "string": decode_text,
    "character": decode_text,
    "integer": decode_integer,
    "long": decode_long,
    "float": decode_double,
    "double": decode_double,
    "boolean": decode_boolean,
    "blob": decode_base64,
    "timestamp": decode_seconds,
}

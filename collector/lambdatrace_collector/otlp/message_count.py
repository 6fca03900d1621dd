"""How many messages a body holds, before anything is made of them.

An empty span takes two bytes: a body of 18 MB held nine million, which were 1.5 GB once parsed and
more in the engine. Counting walks over the messages without reading what is in a span.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE_BYTES_MIN = 2  # a tag and a length of zero
LAST_BYTE_MAX = 0x7F  # the bytes before the last have the high bit set
VARINT_SHIFT_MAX = 63  # ten bytes of seven bits hold 64 bits

# Wire types. Source: protobuf, "Encoding".
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5

# What lies within records: attributes, events, links, exemplars; and what lies within these: keys,
# values, members of arrays. Each begins with its tag, so a body has at most as many of them as it
# has such bytes, or these with the high bit set, as a tag of needless length begins. Parsed, each
# takes some 60 bytes: nine million empty attributes in 18 MB took 550 MB, and 1.2 s.
# Counting bytes takes a millisecond per MB. Text has them too (J Z j : 2 and line feeds): in 20 MB
# of JSON lines a third of what is allowed.
_NESTED_TAGS = tuple(field << 3 | _LEN for field in (3, 5, 6, 7, 9, 11, 13))
_VALUE_TAGS = tuple(field << 3 | _LEN for field in (1, 2))
NESTED_MAX = 2_500_000
VALUES_MAX = 5_000_000


def holds_more_messages(body: bytes, most: int, levels: tuple[tuple[int, ...], ...]) -> bool:
    """True when `body` holds more than `most` messages at all `levels` together.

    A level is the field numbers that hold its messages, the outermost level first: resource_spans,
    scope_spans and spans. Bytes that are not protobuf end the count: what comes after them is not
    parsed either.
    """
    if len(body) <= most * MESSAGE_BYTES_MIN:
        return False
    try:
        for count, _ in enumerate(_messages(body, 0, len(body), levels), 1):
            if count > most:
                return True
    except IndexError:
        pass  # not protobuf from here on
    return False


def may_hold_too_many_fields(body: bytes) -> bool:
    """True when there is no telling that `body` holds a bearable number of nested messages."""
    if len(body) <= NESTED_MAX * MESSAGE_BYTES_MIN:
        return False
    return (
        _occurrences(body, _NESTED_TAGS) > NESTED_MAX
        or _occurrences(body, _VALUE_TAGS) > VALUES_MAX
    )


def _occurrences(body: bytes, tags: tuple[int, ...]) -> int:
    return sum(body.count(bytes([byte])) for tag in tags for byte in (tag, tag | LAST_BYTE_MAX + 1))


def _messages(
    body: bytes, at: int, end: int, levels: tuple[tuple[int, ...], ...]
) -> Iterator[None]:
    """One item for each message at `levels` between `at` and `end`."""
    own, *below = levels
    while at < end:
        tag, at = _varint(body, at)
        wire = tag & 7
        if wire == _LEN:
            length, at = _varint(body, at)
            if tag >> 3 in own:
                yield None
                if below and length:
                    yield from _messages(body, at, min(at + length, end), tuple(below))
            at += length
        elif wire == _VARINT:
            _, at = _varint(body, at)
        elif wire == _I64:
            at += 8
        elif wire == _I32:
            at += 4
        # A group's ends have no length; its fields are taken for this message's.


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends. Raises IndexError when it does not, or is over 64 bits."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & LAST_BYTE_MAX) << shift
        if byte <= LAST_BYTE_MAX:
            return value, at
        shift += 7
        if shift > VARINT_SHIFT_MAX:
            raise IndexError

"""An X-Ray document that is too long → several, which say together what it says.

The first is the document with as much of it as fits. The others are subsegments below it, of the
same times, named after it: X-Ray shows them beneath. Source: X-Ray Developer Guide, "X-Ray segment
documents": a document has at most 64 kB, and larger ones are sent as subsegments of their own.
"""

from __future__ import annotations

import json
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Path = tuple[Any, ...]  # keys of objects, and indices of lists in the whole document
    Piece = tuple[Path, Any]

CONTINUED = " continued"
NAME_LENGTH_MAX = 200
_PIECES = 8  # what is longer than this part of a document is divided
_KEY_LENGTH_MAX = 32  # of keys so long that there is no room for what they name
_ROOM_MIN = 64
# What says which item of a list this is, and so stands in each of its parts.
_IDENTITIES = ("id", "trace_id", "name", "time")
_IDENTITY_LENGTH_MAX = 200
_GOLDEN = 0x9E3779B97F4A7C15  # ids that are far from each other and from the span's


def encode_documents(document: Mapping[str, Any], bytes_max: int) -> tuple[list[bytes], int]:
    """The document as JSON, in at most `bytes_max` each, and how many texts were cut for that.

    Objects and lists are divided where they have to be. A text is cut only if it is too long for a
    document by itself; the last character of what stays is `…`. The same document gives the same
    ones each time, ids included, so they may be sent again. It takes time in proportion to its
    length.
    """
    encoded = encode(document)
    if len(encoded) <= bytes_max:
        return [encoded], 0
    copy = json.loads(encoded)
    part = _Part({key: value for key, value in copy.items() if not _is_divisible(key, value)})
    first, parts, cut = part.document, [part], 0
    for key in [key for key in copy if key not in first]:
        for path, value in _pieces((key,), copy[key], bytes_max // _PIECES):
            if part.size_with(path, value, copy) > bytes_max:
                if part.is_begun:
                    part = _Part(_continuation(first, len(parts)))
                    parts.append(part)
                if part.size_with(path, value, copy) > bytes_max:
                    cut += 1
                    part.put_cut(path, value, copy, bytes_max)
                    continue
            part.put(path, value, copy)
    return [encode(part.document) for part in parts], cut


def encode(document: Any) -> bytes:
    """`document` as JSON; what UTF-8 does not have is `?`."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


def _is_divisible(key: str, value: Any) -> bool:
    return key == "user" or isinstance(value, (dict, list))


def _continuation(first: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {
        "id": f"{(int(first['id'], 16) + number * _GOLDEN) % (1 << 64):016x}",
        "trace_id": first["trace_id"],
        "parent_id": first["id"],
        "type": "subsegment",
        "name": first["name"][: NAME_LENGTH_MAX - len(CONTINUED)] + CONTINUED,
        "start_time": first["start_time"],
        "end_time": first["end_time"],
    }


def _pieces(path: Path, value: Any, bytes_max: int) -> Iterator[Piece]:
    """`value`, or what it has in it if it is longer than `bytes_max`, with where each belongs."""
    if not value or not isinstance(value, (dict, list)) or len(encode(value)) <= bytes_max:
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _pieces((*path, index), item, bytes_max)
    else:
        identity = _identity(path, value)
        if len(identity) == len(value):
            yield path, value
        for key, item in value.items():
            if key not in identity:
                yield from _pieces((*path, key), item, bytes_max)


def _identity(path: Path, value: Any) -> dict[str, Any]:
    """What each part of the item of a list has."""
    if not isinstance(path[-1], int) or not isinstance(value, dict):
        return {}
    return {
        key: value[key]
        for key in _IDENTITIES
        if key in value
        and not isinstance(value[key], (dict, list))
        and len(str(value[key])) <= _IDENTITY_LENGTH_MAX
    }


def _at(whole: Any, path: Path) -> Any:
    """What is at `path`; None if `whole` is, since its keys are not those of `path`."""
    for key in path if whole is not None else ():
        whole = whole[key]
    return whole


class _Part:
    """One document that grows by pieces: `size` is how many bytes it has at most."""

    __slots__ = ("_holders", "_own_size", "document", "size")

    def __init__(self, header: dict[str, Any]) -> None:
        self.document = header
        self.size = self._own_size = len(encode(header))
        self._holders: dict[Path, Any] = {(): header}  # objects and lists, by where they belong

    @property
    def is_begun(self) -> bool:
        """Whether there is anything in it already."""
        return self.size > self._own_size

    def size_with(self, path: Path, value: Any, whole: Any) -> int:
        """What `size` would be."""
        size = self.size + len(encode(value)) + 1
        for depth in range(1, len(path) + 1):
            above = path[:depth]
            if above not in self._holders:
                key = path[depth - 1]
                size += 3 + (len(encode(key)) + 1 if isinstance(key, str) else 0)
                if depth < len(path):
                    size += len(encode(_identity(above, _at(whole, above))))
        return size

    def put(self, path: Path, value: Any, whole: Any) -> None:
        """Add a piece, and what it is in if that is not there yet."""
        self.size = self.size_with(path, value, whole)
        _add(self._holder(path[:-1], path[-1], whole), path[-1], value)

    def put_cut(self, path: Path, value: Any, whole: Any, bytes_max: int) -> None:
        """Add as much of a piece as there is room for, as text; or all of it, under short keys."""
        if self.size_with(path, "…", whole) + _ROOM_MIN > bytes_max:  # it is the keys
            path, whole = tuple(map(_short, path)), None
            if self.size_with(path, value, whole) <= bytes_max:
                self.put(path, value, whole)
                return
        text = value if isinstance(value, str) else encode(value).decode()
        room = bytes_max - self.size_with(path, "…", whole)
        lengths = range(min(len(text), room) + 1)
        length = bisect_right(lengths, room, key=lambda count: len(encode(text[:count])) - 2) - 1
        self.put(path, text[:length].removesuffix("…") + "…", whole)

    def _holder(self, path: Path, next_key: Any, whole: Any) -> Any:
        holder = self._holders.get(path)
        if holder is None:
            is_list = isinstance(next_key, int)
            holder = [] if is_list else _identity(path, _at(whole, path))
            _add(self._holder(path[:-1], path[-1], whole), path[-1], holder)
            self._holders[path] = holder
        return holder


def _add(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, list):
        holder.append(value)
    else:
        holder[key] = value


def _short(key: Any) -> Any:
    return (
        key if isinstance(key, int) or len(key) <= _KEY_LENGTH_MAX else key[:_KEY_LENGTH_MAX] + "…"
    )

"""What is in a journal: its entries, as `journal.py` has written them."""

from __future__ import annotations

from _imp import source_hash
from marshal import loads

from lambdatrace.journal import CLOSED, FRAME_BYTES, HEADER_BYTES, KEYS, MAGIC, NOT_ENDED, OPENED
from lambdatrace.records import OWN_SCOPE, UNSET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.journal import Entry

_OPENED, _CLOSED = OPENED.encode(), CLOSED.encode()


def file_id(data: bytes) -> str:
    """What tells a journal from all others, whatever it is called."""
    return data[len(MAGIC) : HEADER_BYTES].hex()


def read_entries(data: bytes) -> Iterator[Entry]:
    """The entries in a journal's bytes, up to the first that is not whole.

    Raises ValueError if it is no journal at all.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("no journal of this version")
    key = int.from_bytes(data[len(MAGIC) : HEADER_BYTES], "little") % KEYS
    position = HEADER_BYTES
    while position + FRAME_BYTES < len(data):
        start = position + FRAME_BYTES
        size = int.from_bytes(data[position : position + 4], "little")
        end = start + size
        body = data[start:end]
        ended = body[1:9] if body[:1] == _OPENED else NOT_ENDED
        if ended != NOT_ENDED:
            body = body[:1] + NOT_ENDED + body[9:]
        if not size or len(body) != size or source_hash(key, body) != data[position + 4 : start]:
            return
        if body[:1] in (_OPENED, _CLOSED):
            entry = _entry_of_line(body.decode("utf-8", "replace"))
            yield entry
            if ended != NOT_ENDED:
                yield ("ended", entry[1], int.from_bytes(ended, "little"), entry[5], {}, UNSET, "")
            position = end
            continue
        entry = loads(body)  # noqa: S302 - what the hash says we have written
        if isinstance(entry, tuple) and entry and isinstance(entry[0], str):
            yield entry
        position = end


def _entry_of_line(line: str) -> Entry:
    """What `span_opened` or `span_ended` wrote."""
    if line[0] == CLOSED:
        end_ns, _, name = line[17:].partition(" ")
        return ("ended", line[1:17], int(end_ns), name, {}, UNSET, "")
    line = line[1 + len(NOT_ENDED) :]
    start_ns, _, rest = line[65:].partition(" ")
    trace_state, request_id, name = rest.split("\n", 2)
    place = (line[:16], line[16:48], line[48:64], trace_state)
    scope = (OWN_SCOPE.name, OWN_SCOPE.version)
    return ("begun", *place, name, int(line[64]), int(start_ns), *scope, {}, request_id)

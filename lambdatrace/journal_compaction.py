"""Taking out of a journal what is of no use any more."""

from __future__ import annotations

import os
from _imp import source_hash
from marshal import dumps

from lambdatrace.journal import (
    FLAGS,
    FORMAT,
    HEADER_BYTES,
    KINDS,
    MAGIC,
    NOT_ENDED,
    OPENED,
    mapping,
)
from lambdatrace.journal_entries import read_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from lambdatrace.journal import Entry, Journal

_MAGIC_BYTES = len(MAGIC)
NEW = ".new"  # at the end of a file's name while it is made, which is to take the place of another


def compact(journal: Journal, keep: Callable[[list[Entry]], list[Entry]]) -> None:
    """Hold only what `keep` leaves, in a new file that takes the place of the old at once.

    Where that has no room, all is as it was; on a full disk too, which raises OSError.
    """
    old = journal.mapped
    if old is None:
        return
    read_to = journal.position
    kept = keep(list(read_entries(old[:read_to])))
    journal.kept, journal.settled = len(kept), 0
    body = framed(kept, journal.key)
    path = f"{journal.folder}/{journal.name}"
    new = _new_mapping(path + NEW)
    try:
        at, places = HEADER_BYTES + len(body), object()
        new[len(MAGIC) : at] = journal.key.to_bytes(8, "little") + body
        # With what other threads have added meanwhile: one step from here …
        end = at + journal.position - read_to
        new[at : end + 4] = old[read_to : journal.position + 4]
        new[:_MAGIC_BYTES] = MAGIC  # it counts from now on, under either name
        journal.mapped = new
        journal.places = places  # what has begun meanwhile has its place in the old one
        journal.position = end  # … to here
    except IndexError:
        os.unlink(path + NEW)  # noqa: PTH108 - pathlib costs 2.8 ms
    else:
        os.rename(path + NEW, path)  # noqa: PTH104 - see above


def _new_mapping(path: str) -> Any:
    """The pages of a new file, which is gone again if there is no room. Raises OSError."""
    descriptor = os.open(path, FLAGS, 0o600)
    try:
        return mapping(descriptor)
    except BaseException:
        os.unlink(path)  # noqa: PTH108 - pathlib costs 2.8 ms
        raise
    finally:
        os.close(descriptor)  # the mapping has its own


def framed(entries: Iterable[Entry], key: int) -> bytes:
    """`entries` as a journal with this key has them, one after the other.

    What was a line of text is one again, and takes no more room than before; a span that was told
    of by two entries with attributes is one longer entry.
    """
    frames: list[bytes] = []
    for entry in entries:
        line = _line_of_span(entry) if entry[0] == "span" else ""
        body = line.encode("utf-8", "replace") if line else dumps(entry, FORMAT)
        frames += (len(body).to_bytes(4, "little"), source_hash(key, body))
        if line:
            body = body[:1] + int(entry[8]).to_bytes(8, "little") + body[9:]
        frames.append(body)
    return b"".join(frames)


def _line_of_span(entry: Entry) -> str:
    """What `span_opened` writes of most spans; empty for others."""
    _, span_id, trace_id, parent_id, trace_state, name, kind, start_ns, _, *more, request_id = entry
    if any(more) or not parent_id:
        return ""
    begin = f"{span_id}{trace_id}{parent_id}{KINDS[kind]}{start_ns} {trace_state}"
    return f"{OPENED}{NOT_ENDED.decode()}{begin}\n{request_id}\n{name}"

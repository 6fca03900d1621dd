"""What has not been sent yet, in a file in /tmp, which outlives the process.

When a process dies at once (a crash, lack of memory, `os._exit`, the end of its time), Lambda keeps
/tmp for the next process of the same environment, which sends what is found there (`recovery.py`).
A store into the page cache survives the process without a system call to save it. The first
entries go by `pwrite`: to load `mmap` and to touch a new file's first page takes 0.5 ms, which a
cold start does not have. From the first flush on the file is mapped, so that an entry is a copy of
some hundred bytes. Only what the file system has allocated is mapped: a store into a mapped hole on
a full disk ends the process.

An entry is a tuple whose first item says which:

    process     name, version, process started, module's import started, initialization, module
    child       name; a process that was forked by one whose journal is another
    ready       module's import ended, module
    invocation  number, request id, start, arn, deadline, tenant, is cold, trace header,
                trigger's name, faas.trigger, attributes, carrier
    root        request id, span id of the invocation's own span
    span        a span as it stands (`span_entry`), open or ended; the last item is the request id
                of its invocation, which is not known any more once it has ended
    begun       of a span that has begun, ids, trace state, name, kind, start, scope's name and
                version, attributes, request id
    ended       of one that was open, id, end, name, attributes it was given since, status
    set         id of an open span, attributes it was given later
    timeout     request id; the watchdog is at work
    end         request id, time, error type: the handler has ended
    settled     ids of the spans that were sent, or refused for good
    metric      request id, where several invocations run at a time; a metric as it was given, when,
                and the ids of the span it was recorded in
    written     when those metrics were recorded that have been written
    log         number, a log record for OTLP (`journal_logs.py`)
    logged      numbers of the log records that were sent, or refused for good
    taken       id of another journal, and the entries that were of use in it

On the file: `MAGIC`, a key of 8 bytes, frames of length (4 bytes), hash (8) and entry, and four
zero bytes, which each frame is written with and the next is written over: to write them at the
front makes all frames void at once. A frame whose hash is wrong was torn and ends the file too.
Behind the first letter of a line that says that a span has begun there are 8 bytes for its end,
which are zero to the hash: one store writes them, which is there or is not.
`marshal` is what an entry is written with, being built into the interpreter; it must not read what
it has not written, so nothing is read whose hash is wrong (`journal_entries.py`).
"""

from __future__ import annotations

import _thread
import os
from _imp import source_hash  # SipHash, in the interpreter itself; zlib would cost 0.3 ms
from marshal import dumps

from lambdatrace.guard import let_through
from lambdatrace.initialization import start_ticks
from lambdatrace.records import OWN_SCOPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.records import Span

    Entry = tuple[Any, ...]

# A file's name goes on with the process's number and its start, which no other has both of.
PREFIX = ".lambdatrace-"
MAGIC = b"lmdtrac2"
HEADER_BYTES = 16
FRAME_BYTES = 12
END = bytes(4)  # a frame of no length
SIZE_MAX = 1 << 20  # five thousand spans; the buffer's default is two
_END_MAX = SIZE_MAX - len(END)
# At its end, for what makes entries void: else what was sent would be sent again. An entry takes 95
# bytes or more, and its id or time among those that were sent 21 at most.
_VOIDING = SIZE_MAX // 5
RESERVE = _VOIDING + SIZE_MAX // 16  # and for what concludes invocations
_RESERVES = dict.fromkeys(("root", "timeout", "end"), _VOIDING)
_RESERVES.update(dict.fromkeys(("settled", "written", "logged"), 0))
FULL_SHARE = 0.5  # from here on it is looked through for what has been sent
FORMAT = 2  # of marshal: the last without back references, 20 % faster
_ITEMS_MAX = 1_000  # of a list that is written as it is
SCALARS = frozenset((str, bool, int, float, bytes))
LENGTHS_MAX = 256  # those of most spans, made once: 0.1 µs less for each
LENGTHS = [size.to_bytes(4, "little") for size in range(LENGTHS_MAX)]
# The first letter of a body that is text; marshal's is a parenthesis.
OPENED, CLOSED = "o", "c"
NOT_ENDED = bytes(8)
_END_AT = FRAME_BYTES + 1
KINDS = "012345"  # of spans
KEYS = 1 << 63  # what `source_hash` takes
FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILES_MAX = 100  # of one process: of what it has loaded anew
# Headers that say who called; the others of a request may hold secrets.
_CARRIED = ("traceparent", "tracestate", "baggage", "b3", "x-b3-", "x-amzn-trace-id")


class Journal:
    """The journal of this process, a file called `name` in `folder`.

    `dropped` counts the entries that had no room, or came when the user had closed our descriptor,
    whose number may be that of a file of the user's since. Safe to use from several threads,
    without a lock from the first `settle` on: an interpreter changes threads at calls, jumps and
    exceptions alone, so the lines that are marked as one step are that.
    """

    __slots__ = (
        "_deferred",
        "_descriptor",
        "_due",
        "_file",
        "_is_putting",
        "_settling",
        "_writing",
        "dropped",
        "folder",
        "kept",
        "key",
        "mapped",
        "name",
        "places",
        "position",
        "settled",
        "ticks",
    )

    def __init__(self, folder: str, due: Entry | None = None) -> None:
        """Make this process's file in `folder`. Raises OSError.

        With `due`, the file is made at the first entry, and `due` is before that.
        """
        self.folder = folder
        self._due = due
        self.dropped = 0
        self.settled = 0  # entries that are of no use any more, since it was looked through
        self.kept = 0  # entries that were, then
        # No folder of its own: to make one costs as much as all the rest.
        pid = os.getpid()
        self.ticks = start_ticks(pid)  # since boot, when this process started
        self.key = int.from_bytes(os.urandom(8), "little") % KEYS
        self.mapped: Any = None
        self.position = HEADER_BYTES  # where the next entry goes
        self.places = object()  # another once the places of what has begun are void
        # Until the file is mapped. A signal handler may record in the midst of an entry, which its
        # own then waits for in `_deferred`.
        self._writing = _thread.RLock()
        self._deferred: list[tuple[Any, ...]] = []
        self._is_putting = False
        self._settling = _thread.allocate_lock()
        self.name = f"{PREFIX}{pid}-{self.ticks}"
        self._descriptor = -1
        self._file = (0, 0)  # device and number of the file that it is of
        if due is None:
            self._make()

    def of_child(self, due: Entry) -> Journal:
        """In a forked child: the journal of its own that it has if it records anything."""
        self.close(is_parents=True)
        return Journal(self.folder, due)

    def _make(self) -> None:
        first = self._frame(self._due) if self._due is not None else b""
        self._descriptor = self._open_new()
        try:
            self._file = _file_of(self._descriptor)
            self._put_all(MAGIC + self.key.to_bytes(8, "little") + first + END, 0)
        except BaseException:
            self._close_descriptor()
            os.unlink(f"{self.folder}/{self.name}")  # noqa: PTH108 - see `close`
            raise
        self._due = None
        self.position += len(first)

    def _open_new(self) -> int:
        """Make a file that nobody has: not what this module, loaded twice, has made before."""
        name = self.name
        for number in range(1, _FILES_MAX):
            try:
                return os.open(f"{self.folder}/{self.name}", FLAGS, 0o600)
            except FileExistsError:
                self.name = f"{name}-{number}"
        return os.open(f"{self.folder}/{self.name}", FLAGS, 0o600)

    def write(self, entry: Entry) -> None:
        """Add `entry`; values that are no plain ones are written as their `str`."""
        try:
            body = dumps(entry, FORMAT)
        except ValueError as unplain:
            let_through(unplain)
            try:
                from lambdatrace.journal_values import plain

                body = dumps(plain(entry), FORMAT)
            except Exception as error:  # noqa: BLE001 - a user's value may do anything
                let_through(error)
                self.dropped += 1
                return
        self._append(body, _RESERVES.get(entry[0], RESERVE))

    def _append(self, body: bytes, reserve: int = RESERVE) -> int:
        """Where the frame is; 0 while the file is not mapped, and where it leaves no `reserve`."""
        size = len(body)
        length = LENGTHS[size] if size < LENGTHS_MAX else size.to_bytes(4, "little")
        frame = b"".join((length, source_hash(self.key, body), body, END))
        if self.mapped is None:
            self._put(frame, reserve)
            return 0
        start = self.position  # one step from here …
        end = start + FRAME_BYTES + size
        if end + reserve < _END_MAX:
            self.position = end
            self.mapped[start : end + 4] = frame  # … to here
            return start
        self.dropped += 1
        return 0

    def _put(self, *frame_and_reserve: Any) -> None:
        with self._writing:
            self._deferred.append(frame_and_reserve)
            if self._is_putting:
                return
            self._is_putting = True
            try:
                while self._deferred:
                    self._put_next(*self._deferred.pop(0))
            finally:
                self._is_putting = False

    def _put_next(self, frame: bytes, reserve: int) -> None:
        if self.mapped is not None:  # by another thread, meanwhile
            self._append(frame[FRAME_BYTES : -len(END)], reserve)
            return
        try:
            if self._due is not None:
                self._make()
            self._put_all(frame, self.position, reserve)
        except OSError as error:
            let_through(error)
            self.dropped += 1
        else:
            self.position += len(frame) - len(END)

    def _put_all(self, data: bytes, position: int, reserve: int = 0) -> None:
        """Write all of `data`, or raise OSError; half of a frame ends the file as none does."""
        if position + len(data) + reserve > SIZE_MAX:
            raise OSError("the journal is full")
        if not self._is_open():
            raise OSError("the journal was closed")
        if os.pwrite(self._descriptor, data, position) < len(data):
            raise OSError("the disk is full")

    def span(self, span: Span) -> None:
        """Note a span as it stands: that it has begun, or, when it has ended, all of it."""
        dropped, span.noted = self.dropped, len(span.attributes)
        self.write(span_entry(span))
        if self.dropped != dropped:
            span.noted = -1

    def span_opened(self, span: Span) -> None:
        """Note that a span has begun: as a line of text if it is as most are, half the price."""
        context, parent, spans, scope = span.context, span.parent, span.opened_in, span.scope
        attributes, dropped = span.attributes, self.dropped
        if (
            parent is None
            or spans is None
            or span.links
            or span.dropped_attributes
            or span.dropped_links
            or scope.attributes
            or scope.schema_url
        ):
            self.span(span)
        elif attributes or scope is not OWN_SCOPE:
            span.noted = len(attributes)
            self.write(
                (
                    "begun",
                    context.span_id,
                    context.trace_id,
                    parent.span_id,
                    context.trace_state,
                    span.name,
                    span.kind,
                    span.start_ns,
                    scope.name,
                    scope.version,
                    _writable(attributes),
                    spans.request_id,
                )
            )
        else:
            span.noted = 0
            places = self.places
            at = self._append(
                f"{OPENED}\0\0\0\0\0\0\0\0{context.span_id}{context.trace_id}{parent.span_id}"
                f"{KINDS[span.kind]}{span.start_ns} {context.trace_state}\n{spans.request_id}\n"
                f"{span.name}".encode("utf-8", "replace")
            )
            if at:
                span.place = places, at + _END_AT
        if self.dropped != dropped:
            span.noted = -1  # its end tells all of it

    def span_ended(self, span: Span) -> None:
        """Note that a span has ended, and what it was given that is not noted yet."""
        noted, attributes = span.noted, span.attributes
        if (
            noted < 0
            or span.events
            or span.links
            or span.dropped_attributes
            or span.dropped_events
            or span.dropped_links
        ):
            self.write(span_entry(span))
        elif noted < len(attributes) or span.status_code:
            if noted:
                attributes = dict(list(attributes.items())[noted:])
            self.write(
                (
                    "ended",
                    span.context.span_id,
                    span.end_ns,
                    span.name,
                    _writable(attributes),
                    span.status_code,
                    span.status_message,
                )
            )
        else:
            place = span.place
            if place is not None:
                places, at = place
                end = span.end_ns.to_bytes(8, "little")
                if places is self.places:  # one step from here …
                    self.mapped[at : at + 8] = end  # … to here
                    return
            line = f"{CLOSED}{span.context.span_id}{span.end_ns} {span.name}"
            self._append(line.encode("utf-8", "replace"))

    def attributes_set(self, span: Span, attributes: Mapping[str, Any]) -> bool:
        """Note what an open span was given; False if there was no room for it."""
        dropped = self.dropped
        self.write(("set", span.span_id, dict(_writable(attributes))))
        return self.dropped == dropped

    def settled_spans(self, span_ids: list[str]) -> None:
        """Note which spans were sent; one of them that is open yet is sent again when it ends."""
        self.places = object()  # its end is to come behind this entry
        self.write(("settled", span_ids))

    def metric(
        self,
        request_id: str,
        given: tuple[Any, ...],
        now_ns: int,
        ids: tuple[str, str] | None,
    ) -> None:
        """Note a metric as it was given: the last but one are its properties, any values."""
        if given[6]:
            given = (*given[:6], _writable(given[6]), *given[7:])
        self.write(("metric", request_id, *given, now_ns, ids))

    def others(self) -> list[str]:
        """The names of the journals beside this one."""
        names = os.listdir(self.folder)  # noqa: PTH208 - pathlib costs 2.8 ms
        return [name for name in names if name.startswith(PREFIX) and name != self.name]

    def settle(
        self, is_empty: Callable[[], bool], keep: Callable[[list[Entry]], list[Entry]]
    ) -> None:
        """Forget all if then `is_empty`, or, once much is settled, all but what `keep` leaves.

        From now on, if not before, entries are cheap. Called when there is time for it; where
        another thread is at it, nothing is done.
        """
        if not self._settling.acquire(blocking=False):
            return
        try:
            self._map()
            # What ends from now on is an entry of its own, which moves the position.
            self.places = object()
            position = self.position
            if is_empty():
                self._reset(position)
            elif self.position > FULL_SHARE * SIZE_MAX and self.settled > self.kept // 4:
                from lambdatrace.journal_compaction import compact

                compact(self, keep)
        finally:
            self._settling.release()

    def _reset(self, position: int) -> None:
        """Forget all, unless something was added behind `position`."""
        if self.mapped is None:
            with self._writing:
                if self.position == position and self._is_open():
                    self._put_all(END, HEADER_BYTES)
                    self.position = HEADER_BYTES
        elif self.position == position:  # one step from here …
            self.mapped[HEADER_BYTES : HEADER_BYTES + 4] = END
            self.position = HEADER_BYTES  # … to here
        self.settled = self.kept = 0

    def _map(self) -> None:
        """Have entries copied into the file's pages from now on, if it can be had."""
        if self.mapped is None:
            with self._writing:
                try:
                    if not self._is_open():
                        return
                    self.mapped = mapping(self._descriptor)
                except (OSError, ValueError) as error:
                    let_through(error)
                    return  # no room, or a file system that cannot: entries are written as before
                self._close_descriptor()

    def _is_open(self) -> bool:
        """Whether the descriptor is of our file.

        Who closes all that is open, as daemons do, may have one of the user's by this number next.
        """
        try:
            return self._descriptor >= 0 and _file_of(self._descriptor) == self._file
        except OSError as error:
            let_through(error)
            return False

    def _close_descriptor(self) -> None:
        is_open = self._is_open()
        descriptor, self._descriptor = self._descriptor, -1
        if is_open:
            os.close(descriptor)

    def close(self, *, is_parents: bool = False) -> None:
        """Let go of the file; it is deleted unless it `is_parents`."""
        if is_parents:  # nor its locks, which a thread of the parent's may have held
            self._close_descriptor()
            return
        with self._writing:
            self._close_descriptor()
            if self._due is not None:
                return  # it has not been made
            os.unlink(f"{self.folder}/{self.name}")  # noqa: PTH108 - see above

    def _frame(self, entry: Entry) -> bytes:
        body = dumps(entry, FORMAT)
        return len(body).to_bytes(4, "little") + source_hash(self.key, body) + body


def _file_of(descriptor: int) -> tuple[int, int]:
    """What tells a file from all others. Raises OSError."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def mapping(descriptor: int) -> Any:
    """The pages of a file, all of which the file system has. Raises OSError or ValueError."""
    from mmap import mmap

    os.posix_fallocate(descriptor, 0, SIZE_MAX)
    return mmap(descriptor, SIZE_MAX)


def span_entry(span: Span) -> Entry:
    """All of a span but what finds it in this process."""
    context, parent, scope = span.context, span.parent, span.scope
    return (
        "span",
        context.span_id,
        context.trace_id,
        parent.span_id if parent is not None else "",
        context.trace_state,
        span.name,
        span.kind,
        span.start_ns,
        span.end_ns,
        _writable(span.attributes),
        span.status_code,
        span.status_message,
        span.events
        and [(event.name, event.time_ns, _writable(event.attributes)) for event in span.events],
        span.links
        and [
            (
                link.context.trace_id,
                link.context.span_id,
                link.context.is_sampled,
                link.context.trace_state,
                _writable(link.attributes),
            )
            for link in span.links
        ],
        None
        if scope is OWN_SCOPE
        else (scope.name, scope.version, scope.schema_url, dict(scope.attributes)),
        span.dropped_attributes,
        span.dropped_events,
        span.dropped_links,
        span.opened_in.request_id if span.opened_in is not None else "",
    )


def caller_fields(carrier: Mapping[Any, Any]) -> dict[str, str]:
    """Of what came with the event, the fields that say who called."""
    return {
        key: value
        for key, value in carrier.items()
        if isinstance(key, str) and isinstance(value, str) and key.lower().startswith(_CARRIED)
    }


def _writable(attributes: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """`attributes` with values that can be written in bounded time.

    `marshal` follows a container as often as it comes upon it, a cycle without end.
    """
    for value in attributes.values():
        if type(value) not in SCALARS and not (
            type(value) is list
            and len(value) <= _ITEMS_MAX
            and SCALARS.issuperset(map(type, value))
        ):
            from lambdatrace.journal_values import writable

            return writable(attributes)
    return attributes

"""What a process that died at once left in its journal: spans, ended and open, metrics, logs.

Read after the first response of the process that comes after it, which sends it with its own. What
was open is closed at the last moment that is known, with the error that Lambda calls it by as far
as that can be told: `Sandbox.Timedout` when the watchdog was at work or the deadline had passed,
else `Runtime.ExitError`. Lack of memory is among the latter: the kernel's SIGKILL leaves no sign
that a process of the same environment could read.
"""

from __future__ import annotations

import os
import stat

from lambdatrace.guard import let_through
from lambdatrace.initialization import start_ticks
from lambdatrace.invocation import Invocation
from lambdatrace.journal import MAGIC, PREFIX, SIZE_MAX, span_entry
from lambdatrace.journal_compaction import NEW
from lambdatrace.journal_entries import file_id, read_entries
from lambdatrace.journal_logs import numbered_entry, record_of
from lambdatrace.journal_state import Left, span_of
from lambdatrace.records import (
    ERROR,
    INCOMPLETE,
    SERVER,
    TIMED_OUT,
    Link,
    Span,
    SpanContext,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.journal import Entry, Journal
    from lambdatrace.log_record import LogRecord
    from lambdatrace.metrics import MetricRecorder
    from lambdatrace.telemetry import Telemetry

EXIT_ERROR = "Runtime.ExitError"  # Lambda's name for a runtime process that ended
# Lambda's limit for an init that a caller waits for. The process that comes after one which went
# over it starts right then, so its own start tells how long that was.
INIT_NS_MAX = 10_000_000_000
# Lambda counts from before the process is there, which takes a busy machine some time.
_INIT_TIMED_OUT_NS = 9_500_000_000
FILES_MAX = 20  # journals that are read; of more, those of the processes that started last
_REASONS = {
    EXIT_ERROR: "the process ended before the invocation did",
    TIMED_OUT: "the invocation timed out",
}


def recover(
    current: Telemetry, journal: Journal, names: list[str], *, is_early: bool = False
) -> bool:
    """Take over what the processes before this one left: to the buffers' front, metrics out.

    `names` are the journals beside this process's. Each is in that before its file is deleted. The
    files of processes that still run (workers of the same environment) are left alone. Where this
    process could not make a journal, it is tried again once a file is gone. If it
    `is_early`, before the first invocation, so is that of an init which came to no end just before:
    it is to be told of in the trace of the invocation that waits. False if there is one.
    """
    spans: list[Span] = []
    logs: list[LogRecord] = []
    is_all_taken = True
    taken: set[str] = set()
    dead = {_named(journal.folder, name) for name in names if not is_alive(name)}
    # A journal says of which others it has all, so it is read before those.
    newest_first = sorted(dead, key=_age)
    _drop_oldest(current, journal, newest_first)
    for number, name in enumerate(newest_first):
        path = f"{journal.folder}/{name}"
        try:
            data = read_file(path)
            left = Left(list(read_entries(data)))
            if is_early and not number and left.is_init_alone():
                is_all_taken = False
                continue
            path = _claim(journal, name, number)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, EOFError, TypeError, LookupError) as error:
            let_through(error)
            current.guard.report(f"the journal {path} is of no use", error)
            _delete(path)
            continue
        if left.unreadable:
            current.guard.report(f"the journal {path}", f"{left.unreadable} entries unreadable")
        if file_id(data) not in taken:
            taken.update(left.taken)
            recovery = Recovery(current, left)
            known = {span.span_id for span in spans}
            # Guarded: what is odd in one journal must not keep the others from being told of.
            found = current.guard.run(recovery.take_over, path, file_id(data)) or []
            spans = [span for span in found if span.span_id not in known] + spans
            logs = recovery.logs + logs
            current.guard.run(recovery.write_metrics)
        _delete(path)
    current.buffer.put_back(spans)
    if logs:
        current.log_buffer.put_back(logs)
    return is_all_taken


def _drop_oldest(current: Telemetry, journal: Journal, newest_first: list[str]) -> None:
    """Leave the last FILES_MAX of the journals alone."""
    dropped = newest_first[FILES_MAX:]
    del newest_first[FILES_MAX:]
    for name in dropped:
        _delete(f"{journal.folder}/{name}")
    if dropped:
        current.guard.report(
            "processes that died were too many to be told of", f"{len(dropped)} journals dropped"
        )


def _age(name: str) -> tuple[int, str]:
    """What sorts the names of journals by the start of their processes, the last first.

    What a process has claimed comes after its own.
    """
    _, ticks = _process(name)
    return -ticks, name


def _named(folder: str, name: str) -> str:
    """The name of a journal; one that was to take another's place does so if it is whole."""
    if not name.endswith(NEW):
        return name
    path = f"{folder}/{name}"
    try:
        if read_file(path)[: len(MAGIC)] == MAGIC:
            os.rename(path, path.removesuffix(NEW))  # noqa: PTH104 - pathlib costs 2.8 ms
    except (OSError, ValueError):
        pass  # taken by another process in this moment, or none of ours
    _delete(path)
    return name.removesuffix(NEW)


def _claim(journal: Journal, name: str, number: int) -> str:
    """Make the file `name` this process's, since two may look back at once; its path then.

    Raises FileNotFoundError if the other was quicker.
    """
    path = f"{journal.folder}/{journal.name}.{number:02}"
    os.rename(f"{journal.folder}/{name}", path)  # noqa: PTH104 - pathlib costs 2.8 ms
    return path


def is_alive(name: str) -> bool:
    """Whether the process whose journal is called `name` runs."""
    pid, ticks = _process(name)
    try:
        return start_ticks(pid) == ticks
    except (OSError, IndexError, ValueError):
        return False


def _process(name: str) -> tuple[int, int]:
    """The number of the process whose journal is called `name`, and its start; 0 if it has none."""
    # What follows a dot is what that process was doing with the file.
    pid, ticks, *_ = [*name.removeprefix(PREFIX).partition(".")[0].split("-"), ""]
    return (int(pid), int(ticks)) if pid.isdecimal() and ticks.isdecimal() else (0, 0)


def read_file(path: str) -> bytes:
    """The bytes of a journal. Raises OSError, or ValueError if it is none of ours."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise ValueError("not a file of this user's")
        if status.st_size > SIZE_MAX:
            raise ValueError(f"{status.st_size} bytes: at most {SIZE_MAX}")
        return os.read(descriptor, SIZE_MAX)
    finally:
        os.close(descriptor)


def _delete(path: str) -> None:
    try:  # noqa: SIM105 - contextlib is not loaded on 3.10
        os.unlink(path)  # noqa: PTH108 - pathlib costs 2.8 ms
    except OSError:
        pass  # a folder, or gone already


class Recovery:
    """Makes the spans that a dead process would have sent."""

    def __init__(self, current: Telemetry, left: Left) -> None:
        self._current = current
        self._left = left
        self._contexts: dict[str, SpanContext] = {}  # of the invocations' spans, by request id
        self._entries: list[Entry] = []  # of the metrics, for the journal
        self.logs: list[LogRecord] = []  # that were not sent
        self._recorders: list[tuple[MetricRecorder, SpanContext | None, str]] = []
        self._uncounted = [key for key in left.invocations if not left.is_counted(key)]

    def take_over(self, path: str, of: str) -> list[Span]:
        """Have all that is of use in the journal with the id `of`, and delete its file; its spans.

        Before that it is noted in our own, or right after it where that has no room before.
        """
        spans: list[Span] = []
        if self._is_this_functions():
            spans = self.spans()
            self.collect_metrics()
            self._current.guard.run(self.count_invocations)
            by_time = sorted(self._left.logs.values(), key=lambda entry: entry[3])
            self.logs = [record_of(entry) for entry in by_time]
        if self._current.journal is None:
            _delete(path)
            self._open_journal()
        if self._current.journal is not None:
            self._note(self._current.journal, of, spans)
        _delete(path)
        return spans

    def _open_journal(self) -> None:
        """Try once more to make a journal for this process, whose init is over."""
        current = self._current
        current.open_journal()
        if current.journal is not None:
            ended_ns = current.initialization.import_ended_ns
            current.journal.write(("ready", ended_ns, current.handler_module))

    def _note(self, journal: Journal, of: str, spans: list[Span]) -> None:
        """Note `spans` and all else in `journal`, which are of that with the id `of`.

        One entry has all: a process that is killed at any moment has taken over nothing, or
        everything.
        """
        for recorder, _, _ in self._recorders:
            recorder.journal = journal
        entries = [*map(span_entry, spans), *map(numbered_entry, self.logs), *self._entries]
        entries += [("taken", earlier, []) for earlier in self._left.taken[-FILES_MAX:]]
        dropped = journal.dropped
        journal.write(("taken", of, entries))
        if journal.dropped > dropped:  # no room for all: then for as many as there is
            for entry in entries:
                journal.write(entry)

    def _is_this_functions(self) -> bool:
        for kind in ("process", "child"):
            fact = self._left.facts.get(kind)
            if fact is not None and fact[1] != self._current.function.name:
                self._current.guard.report("a journal of another function", fact[1])
                return False
        return True

    def spans(self) -> list[Span]:
        """All that was not sent: ended, open, and the invocations' own that were never opened."""
        left = self._left
        process = left.facts.get("process")
        found = [
            span_of(entry)
            for span_id, entry in left.spans.items()
            if entry[8] and span_id not in left.settled
        ]
        for request_id in left.invocations:
            if not left.is_over(request_id):
                found += self._of_invocation(request_id)
        found += self._open(left.spans, "")
        if process is not None and not left.invocations and self._is_init_unknown():
            found += self._failed_init(process)
        return found

    def collect_metrics(self) -> None:
        """Have the metrics that the process could not write, with their times and request ids."""
        by_request: dict[str, list[Entry]] = {}
        for request_id, entry in self._left.metrics:
            by_request.setdefault(request_id, []).append(entry)
        for request_id, entries in by_request.items():
            recorder = self._current.metering.new_recorder()
            for entry in entries:
                recorder.restore(entry)
            self._add(recorder, request_id)

    def _add(self, recorder: MetricRecorder, request_id: str) -> None:
        context = self._contexts.get(request_id)
        root_id = self._left.roots.get(request_id, "")
        root = self._left.spans.get(root_id)
        if context is None and root is not None:  # it was taken over from another one
            context = SpanContext(root[2], root_id)
        if context is not None and not any(request_id == key for _, _, key in self._recorders):
            self._entries.append(("root", request_id, context.span_id))
        self._entries += recorder.entries(request_id)
        self._recorders.append((recorder, context, request_id))

    def write_metrics(self) -> None:
        """Write what was collected and counted."""
        for recorder, context, request_id in self._recorders:
            self._current.metering.put(recorder, context, request_id)

    def count_invocations(self) -> None:
        """Record the metrics of the invocations that the process did not live to count."""
        current, facts = self._current, self._left.facts
        if not self._uncounted or current.record_outcome not in current.on_completed:
            return
        from lambdatrace.invocation_metrics import record_outcome
        from lambdatrace.invocation_spans import InvocationSpans
        from lambdatrace.outcome import InvocationOutcome

        process, ready = facts.get("process"), facts.get("ready")
        init_ns = ready[1] - process[3] if process is not None and ready is not None else 0
        for request_id in self._uncounted:
            invocation = self._left.invocations[request_id]
            is_cold = bool(invocation[7])
            end_ns, error_type = self._end(request_id)
            outcome = InvocationOutcome(
                request_id,
                invocation[3],
                end_ns,
                spans=InvocationSpans(),
                is_cold_start=is_cold,
                init_ns=init_ns if is_cold else 0,
                error_type=error_type,
                is_timed_out=error_type == TIMED_OUT,
            )
            recorder = current.metering.new_recorder()
            recorder.journal = None  # where it is once with all the rest
            record_outcome(current, outcome, recorder)
            self._add(recorder, request_id)

    def _end(self, request_id: str) -> tuple[int, str]:
        """When an invocation ended, and of what error, as far as that is known."""
        left = self._left
        ended, invocation = left.ends.get(request_id), left.invocations.get(request_id)
        if ended is not None:
            return ended[2], ended[3]
        deadline_ns = invocation[5] if invocation is not None else 0
        is_late = request_id in left.timeouts or 0 < deadline_ns <= left.last_ns
        end_ns = deadline_ns if is_late and deadline_ns else left.last_ns
        return end_ns, TIMED_OUT if is_late else EXIT_ERROR

    def _of_invocation(self, request_id: str) -> list[Span]:
        """What of an invocation was open, and its own span, with the init before it."""
        left = self._left
        root_id = left.roots.get(request_id, "")
        root = self._root(request_id) if not root_id else None
        trace_id = root.trace_id if root is not None else left.spans[root_id][2]
        span_id = root_id if root is None else root.span_id
        self._contexts[request_id] = SpanContext(trace_id, span_id)
        own = {key: span for key, span in left.spans.items() if span[-1] == request_id}
        found = self._open(own, request_id)
        if root is None:
            root = next((span for span in found if span.span_id == root_id), None)
        elif root.context.is_sampled:
            found.append(root)
        else:
            return found
        if root is None:
            return found
        for key, value in self._root_attributes(left.invocations[request_id]).items():
            root.attributes.setdefault(key, value)
        if left.invocations[request_id][1] == 0:
            found += self._init(root)
        return found

    def _open(self, spans: dict[str, Entry], request_id: str) -> list[Span]:
        """Those of `spans` that were open, closed with what is known of the invocation's end."""
        found = []
        for span_id in list(spans):
            entry = spans[span_id]
            if entry[8]:
                continue
            self._left.spans.pop(span_id, None)
            if span_id not in self._left.settled:
                span = span_of(entry)
                self._close(span, request_id, is_root=self._left.roots.get(request_id) == span_id)
                found.append(span)
        return found

    def _close(self, span: Span, request_id: str, *, is_root: bool) -> None:
        end_ns, error_type = self._end(request_id)
        if request_id in self._left.ends:
            # The handler had ended, and told how; what it left open is marked as it always is.
            if not is_root:
                span.set_attribute(INCOMPLETE, value=True)
            elif error_type:
                span.set_attribute("error.type", error_type)
                span.set_status(ERROR)
            span.end(end_ns)
            return
        span.set_attribute(INCOMPLETE, value=True)
        span.set_attribute("error.type", error_type)
        span.set_status(ERROR, _REASONS[error_type])
        span.end(end_ns)

    def _root(self, request_id: str) -> Span:
        """The span of an invocation that nobody had asked for yet."""
        from lambdatrace.handler import find_caller
        from lambdatrace.invocation_spans import InvocationSpans

        _, _, _, start_ns, _, _, _, _, header, name, *_, carrier = self._left.invocations[
            request_id
        ]
        current = self._current
        caller = find_caller(current, [carrier] if carrier else [], header)
        span = current.tracer.start_root(
            name or current.function.name,
            caller.parent,
            caller.trace_id,
            start_ns,
            kind=SERVER,
            spans=InvocationSpans(),
        )
        self._close(span, request_id, is_root=True)
        return span

    def _root_attributes(self, entry: Entry) -> dict[str, Any]:
        _, _, request_id, start_ns, arn, deadline_ns, tenant_id, is_cold, _, _, trigger, more, _ = (
            entry
        )
        context = _Context(request_id, arn, deadline_ns, tenant_id)
        attributes = Invocation(context, start_ns, is_cold_start=bool(is_cold)).attributes()
        return {**attributes, **({"faas.trigger": trigger} if trigger else {}), **more}

    def _init(self, root: Span) -> list[Span]:
        """The init that came before the first invocation, if it has not been recorded."""
        process, ready = self._left.facts.get("process"), self._left.facts.get("ready")
        name = f"init {self._current.function.name}"
        if process is None or ready is None or self._has_span(name):
            return []
        attributes = {
            "faas.coldstart": root.attributes.get("faas.coldstart", False),
            "aws.lambda.initialization_type": process[5],
        }
        is_waited_for = bool(attributes["faas.coldstart"])
        init = self._span(name, root if is_waited_for else None, process[3], attributes)
        if not is_waited_for:
            init.add_link(Link(root.context))
        module = self._span(f"import {ready[2]}", init, process[4])
        for span in (module, init):
            span.end(ready[1])
        return [init, module]

    def _has_span(self, name: str) -> bool:
        return any(span[5] == name for span in self._left.spans.values())

    def _is_init_unknown(self) -> bool:
        """Whether the process ended in its init, and had not told of that itself."""
        name = f"init {self._current.function.name}"
        return "ready" not in self._left.facts and not self._has_span(name)

    def _failed_init(self, process: Entry) -> list[Span]:
        """An init that never came to an end, below the invocation that then had to wait for ours.

        The process after it starts when it is over, and so tells when that was at the latest.
        """
        spans = self._current.tracer.spans()
        init = self._span(
            f"init {self._current.function.name}",
            spans.root(),
            process[3],
            {
                "faas.coldstart": self._current.function.is_cold_on_first_invocation,
                "aws.lambda.initialization_type": process[5],
            },
        )
        if not init.context.is_sampled:
            return []
        end_ns = self._current.initialization.process_started_ns()
        if end_ns - init.start_ns >= _INIT_TIMED_OUT_NS:
            error_type, message = TIMED_OUT, "the init timed out"
            end_ns = init.start_ns + INIT_NS_MAX
        else:
            error_type, message = EXIT_ERROR, "the process ended during its init"
        module = self._span(f"import {process[6]}", init, process[4])
        for span in (module, init):
            span.set_attribute(INCOMPLETE, value=True)
            span.set_attribute("error.type", error_type)
            span.set_status(ERROR, message)
            span.end(end_ns)
        return [init, module]

    def _span(
        self,
        name: str,
        parent: Span | None,
        start_ns: int,
        attributes: dict[str, Any] | None = None,
    ) -> Span:
        ids = self._current.ids
        if parent is None:
            context = SpanContext(ids.trace_id(), ids.span_id())
        else:
            above = parent.context
            context = SpanContext(
                above.trace_id,
                ids.span_id(),
                is_sampled=above.is_sampled,
                trace_state=above.trace_state,
            )
        above_or_none = parent.context if parent is not None else None
        return Span(name, context, above_or_none, start_ns, attributes=attributes)


class _Context:
    """What an invocation's facts are read from."""

    def __init__(self, request_id: str, arn: str, deadline_ns: int, tenant_id: str) -> None:
        self.aws_request_id = request_id
        self.invoked_function_arn = arn
        self.tenant_id = tenant_id
        self._epoch_deadline_time_in_ms = deadline_ns // 1_000_000

"""What a process takes over from one that died: the journals are real files of real recorders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from contextvars import copy_context
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lambdatrace
from lambdatrace import recovery
from lambdatrace.buffer import Buffer
from lambdatrace.guard import Guard
from lambdatrace.handler import begin
from lambdatrace.invocation_spans import InvocationSpans
from lambdatrace.journal import MAGIC, RESERVE, SIZE_MAX, Journal, span_entry
from lambdatrace.journal_entries import read_entries
from lambdatrace.journal_state import Left, compacted
from lambdatrace.metering import Metering
from lambdatrace.records import ERROR, OWN_SCOPE, Scope
from lambdatrace.recovery import is_alive, recover
from lambdatrace.sinks import Outcome
from lambdatrace.testing import START_NS, LambdaContext, MemorySink, recording
from lambdatrace.tracing import enter, leave
from lambdatrace.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace.records import Span
    from lambdatrace.testing import Recorded
    from lambdatrace.tracing import Tracer

DEAD = ".lambdatrace-999999999-1"  # no process has this number
DOWN = Outcome(is_accepted=False, message="down")


@contextmanager
def process(folder: Path, *outcomes: Outcome, **variables: str) -> Iterator[Recorded]:
    """One process of an environment whose journals are in `folder`; its own is there at the end."""
    environment = {
        "TMPDIR": str(folder),
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",
        "LAMBDATRACE_JOURNAL": "true",
        **variables,
    }
    with recording(environment, sink=MemorySink(list(outcomes))) as recorded:
        # Not started: its thread may wake in the moment in which the clock has jumped.
        recorded.telemetry.watchdog = Watchdog(recorded.telemetry)
        recorded.telemetry.open_journal()
        token = enter(InvocationSpans())  # not that of the process before, which never ended
        try:
            yield recorded
        finally:
            leave(token)
            if recorded.telemetry.journal is not None:
                recorded.telemetry.journal.close()


def die(recorded: Recorded) -> None:
    """Leave the journal as the kernel would, under the name of a process that is gone."""
    journal = recorded.telemetry.journal
    assert journal is not None
    shutil.copy(f"{journal.folder}/{journal.name}", f"{journal.folder}/{DEAD}")
    journal.close()
    recorded.telemetry.journal = recorded.telemetry.tracer.journal = None


def start(recorded: Recorded, **options: Any) -> Any:
    return begin(recorded.telemetry, {}, LambdaContext(**options))


def facts(span: Span) -> tuple[Any, ...]:
    attributes = {k: v for k, v in span.attributes.items() if not k.startswith(("cloud.", "aws."))}
    return (span.name, span.start_ns - START_NS, span.end_ns - START_NS, attributes)


LOST = {"lambdatrace.incomplete": True, "error.type": "Runtime.ExitError"}
REQUEST = "11111111-2222-3333-4444-555555555555"


def test_open_spans_are_closed_at_the_last_moment_known_and_ended_ones_come_as_they_were(
    tmp_path: Path,
) -> None:
    with process(tmp_path) as recorded:
        recorded.telemetry.finish_start()
        start(recorded)
        recorded.clock.advance(1)
        with lambdatrace.span("outer", attributes={"order.id": 7}) as outer_span:
            outer_span.set_attribute("order.total", 9.5)
            with lambdatrace.span("inner"):
                recorded.clock.advance(2)
            recorded.clock.advance(50)
            die(recorded)
    with process(tmp_path) as after:
        after.telemetry.flush()
        names = sorted(span.name for span in after.spans)
        assert names == ["import app", "init orders", "inner", "orders", "outer"]
        assert facts(after.span("inner")) == ("inner", 1_000_000, 3_000_000, {})
        assert facts(after.span("outer")) == (
            *("outer", 1_000_000, 3_000_000),
            {"order.id": 7, "order.total": 9.5, **LOST},
        )
        root = after.span("orders")
        assert facts(root) == (
            *("orders", 0, 3_000_000),
            {**LOST, "faas.coldstart": True, "faas.invocation_id": REQUEST},
        )
        assert root.status_message == "the process ended before the invocation did"
        outer, init = after.span("outer"), after.span("init orders")
        assert outer.parent is not None
        assert init.parent is not None
        assert (outer.parent.span_id, init.parent.span_id) == (root.span_id, root.span_id)
    with process(tmp_path) as third:
        third.telemetry.flush()
        assert third.spans == [], "nothing comes twice"


def test_an_invocation_that_nobody_traced_has_its_span_in_the_callers_trace(tmp_path: Path) -> None:
    event = {
        "requestContext": {"http": {"method": "GET", "path": "/orders"}},
        "headers": {
            "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "Authorization": "secret",
        },
    }
    with process(tmp_path) as recorded:
        begin(recorded.telemetry, event, LambdaContext())
        die(recorded)
    journal = tmp_path / DEAD
    assert b"secret" not in journal.read_bytes()
    with process(tmp_path) as after:
        after.telemetry.flush()
        (span,) = after.spans
    assert span.parent is not None
    assert (span.trace_id, span.parent.span_id) == (
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331",
    )
    assert span.attributes["faas.trigger"] == "http"
    assert span.attributes["error.type"] == "Runtime.ExitError"


def test_metrics_are_written_with_their_own_time_and_request_once(tmp_path: Path) -> None:
    with process(tmp_path) as recorded:
        start(recorded)
        lambdatrace.metric("Written", 1, unit="Count")
        recorded.telemetry.metering.write()
        recorded.clock.advance(1000)
        lambdatrace.metric("Lost", 2, unit="Count", dimensions={"tier": "gold"})
        die(recorded)
    with process(tmp_path) as after:
        after.clock.advance(60_000)
        after.telemetry.flush()
        (document,) = after.metric_documents
        (span,) = [span for span in after.spans if span.name == "orders"]
    time_ms = START_NS // 1_000_000 + 1000
    assert (document["Lost"], document["tier"], document["requestId"]) == (2.0, "gold", REQUEST)
    assert (document["_aws"]["Timestamp"], document["traceId"]) == (time_ms, span.trace_id)


COUNTING = {"LAMBDATRACE_INVOCATION_METRICS": "Errors,Timeouts,Duration,ColdStart"}


def counted(*processes: Recorded) -> Counter[str]:
    """The sum of each of the metrics of invocations, in all processes."""
    sums: Counter[str] = Counter()
    for recorded in processes:
        for document in recorded.metric_documents:
            for name in ("Errors", "Timeouts", "Duration", "ColdStart"):
                values = document.get(name, 0)
                sums[name] += int(sum(values) if isinstance(values, list) else values)
    return sums


@pytest.mark.parametrize("is_traced", [True, False])
@pytest.mark.parametrize("is_timeout", [True, False])
def test_an_invocation_that_the_process_died_in_is_counted_once(
    tmp_path: Path, *, is_timeout: bool, is_traced: bool
) -> None:
    with process(tmp_path, **COUNTING) as recorded:
        lambdatrace.instrument(lambda *_: None)({}, LambdaContext(aws_request_id="before"))
        recorded.telemetry.flush()
        start(recorded)
        if is_traced:
            lambdatrace.current_span().set_attribute("seen", 1)
        recorded.clock.advance(3000 if is_timeout else 1000)
        lambdatrace.metric("Mine", 1)  # tells the journal the time
        die(recorded)
    with process(tmp_path, **COUNTING) as after:
        after.clock.advance(60_000)
        after.telemetry.flush()
        after.telemetry.flush()
        (document,) = [each for each in after.metric_documents if "Errors" in each]
    killed = {"Errors": 1, "Duration": 3000 if is_timeout else 1000}
    assert counted(recorded, after) == Counter(
        {**killed, "Timeouts": int(is_timeout), "ColdStart": 1}
    )
    assert document["requestId"] == REQUEST
    ended_ms = START_NS // 1_000_000 + killed["Duration"]
    assert document["_aws"]["Timestamp"] // 60_000 == ended_ms // 60_000


def test_a_timeout_that_the_watchdog_has_counted_is_not_counted_again(tmp_path: Path) -> None:
    with process(tmp_path, **COUNTING) as recorded:
        start(recorded)
        recorded.clock.advance(2_700)
        recorded.telemetry.invocation_times_out(START_NS + 3_000_000_000)
        die(recorded)
    with process(tmp_path, **COUNTING) as after:
        after.telemetry.flush()
    assert counted(recorded, after) == {
        "Errors": 1,
        "Timeouts": 1,
        "Duration": 2700,
        "ColdStart": 1,
    }


def test_what_the_endpoint_has_acknowledged_does_not_come_again(tmp_path: Path) -> None:
    with process(tmp_path) as recorded:
        start(recorded)
        with lambdatrace.span("sent"):
            pass
        lambdatrace.flush()
        with lambdatrace.span("kept"):
            pass
        die(recorded)
        assert [span.name for span in recorded.spans] == ["sent"]
        root_id = recorded.telemetry.tracer.spans().root()
    with process(tmp_path) as after:
        after.telemetry.flush()
        assert [span.name for span in after.spans] == ["kept", "orders"]
        assert root_id is not None
        assert after.span("orders").span_id == root_id.span_id


def test_what_the_watchdog_has_sent_does_not_come_again_and_what_it_could_not_comes_as_timed_out(
    tmp_path: Path,
) -> None:
    for outcome, expected in ((Outcome(is_accepted=True), []), (DOWN, ["orders", "slow"])):
        with process(tmp_path, outcome) as recorded:
            running = start(recorded)
            with lambdatrace.span("slow"):
                recorded.clock.advance(2900)
                recorded.telemetry.guard = Guard()
                recorded.telemetry.invocation_times_out(running.facts.deadline_ns)
                die(recorded)
        with process(tmp_path) as after:
            after.telemetry.flush()
            again = [span for span in after.spans if not span.name.startswith(("init", "import"))]
            assert sorted(span.name for span in again) == expected
            for span in again:
                assert span.attributes["error.type"] == "Sandbox.Timedout"
                assert (span.end_ns - START_NS) == 3_000_000_000, "at its deadline"


def test_what_waits_for_an_endpoint_that_is_down_outlives_the_process(tmp_path: Path) -> None:
    with process(tmp_path, DOWN) as recorded:
        recorded.telemetry.guard.is_strict = False
        running = start(recorded)
        with lambdatrace.span("work"):
            recorded.clock.advance(5)
        running.succeed({})
        assert recorded.spans == []
        die(recorded)
    with process(tmp_path) as after:
        after.telemetry.flush()
        found = {span.name: span for span in after.spans}
    assert set(found) == {"orders", "work", "init orders", "import app"}
    assert found["orders"].status_code == 0
    assert "lambdatrace.incomplete" not in found["orders"].attributes


def test_when_all_is_sent_nothing_is_left(tmp_path: Path) -> None:
    with process(tmp_path) as recorded:
        start(recorded).succeed({})
        die(recorded)
    assert compacted(list(_entries(tmp_path))) == []


def _entries(folder: Path) -> Any:
    return read_entries((folder / DEAD).read_bytes())


def test_an_init_that_never_ended_is_told_of_in_the_trace_of_the_invocation_that_waited(
    tmp_path: Path,
) -> None:
    with process(tmp_path) as recorded:
        die(recorded)
    with process(tmp_path) as after:
        start(after).succeed({})
        failed, own = [span for span in after.spans if span.name == "init orders"]
        root = after.span("orders")
    assert failed.attributes["error.type"] in ("Runtime.ExitError", "Sandbox.Timedout")
    assert own.status_code == 0
    assert failed.parent is not None
    assert failed.parent.span_id == root.span_id


def test_two_invocations_of_one_trace_keep_their_own_spans_and_ends(tmp_path: Path) -> None:
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"

    def work(recorded: Recorded, request_id: str) -> Any:
        context = LambdaContext(aws_request_id=request_id)
        context.xray_trace_id = header  # type: ignore[attr-defined]
        running = begin(recorded.telemetry, {}, context)
        recorded.telemetry.tracer.start_span(f"of {request_id}")
        lambdatrace.metric("Lost", 1)
        return running

    with process(tmp_path) as recorded:
        recorded.telemetry.function.is_multi_concurrent = True
        of_first = copy_context()
        first = of_first.run(work, recorded, "first")
        of_second = copy_context()
        of_second.run(work, recorded, "second")
        of_first.run(lambdatrace.metric, "Lost", 1)
        recorded.clock.advance(1)
        first.abandon()  # its end, without what comes after it
        recorded.clock.advance(1)
        of_second.run(lambdatrace.metric, "Lost", 1)
        die(recorded)
    with process(tmp_path) as after:
        after.telemetry.flush()
        assert {span.trace_id for span in after.spans} == {"5759e988bd862e3fe1be46a994272793"}
        assert facts(after.span("of first")) == (
            *("of first", 0, 1_000_000),
            {"lambdatrace.incomplete": True},
        )
        assert facts(after.span("of second")) == ("of second", 0, 2_000_000, LOST)
        assert {
            span.attributes["faas.invocation_id"]: span.attributes.get("error.type")
            for span in after.spans
            if span.name == "orders"
        } == {"first": None, "second": "Runtime.ExitError"}
        written = [(d["requestId"], d.get("Lost")) for d in after.metric_documents if "Lost" in d]
        assert written == [("first", [1.0, 1.0]), ("second", [1.0, 1.0])]


def die_in(request_id: str, folder: Path, name: str) -> None:
    """Leave the journal of a process that died in an invocation, as that of one called `name`."""
    with process(folder) as recorded:
        recorded.telemetry.finish_start()
        start(recorded, aws_request_id=request_id)
        die(recorded)
    (folder / DEAD).rename(folder / name)


def test_a_crash_loop_is_told_of_before_the_first_invocation_of_the_next_process(
    tmp_path: Path,
) -> None:
    for number in range(3):
        die_in(f"request {number}", tmp_path, f"{DEAD}{number}")
    with process(tmp_path) as after:
        after.telemetry.is_told_of_next = True
        after.telemetry.runtime_asks_for_next()
        roots = [span for span in after.spans if span.name == "orders"]
        assert [span.attributes["faas.invocation_id"] for span in roots] == [
            *("request 0", "request 1", "request 2"),
        ]
        assert [path.name for path in tmp_path.iterdir()] == [_own_name(after)]


def test_of_inits_that_failed_one_after_the_other_only_the_last_waits_for_an_invocation(
    tmp_path: Path,
) -> None:
    for number in range(3):
        with process(tmp_path) as recorded:
            die(recorded)
        (tmp_path / DEAD).rename(tmp_path / f"{DEAD}{number}")
    with process(tmp_path) as after:
        after.telemetry.registered()
        assert [span.name for span in after.spans] == ["init orders", "import app"] * 2
        start(after).succeed({})
        assert len([span for span in after.spans if span.name == "init orders"]) == 4
        last = [span for span in after.spans if span.name == "init orders"][2]
        assert last.trace_id == after.span("orders").trace_id


def test_at_most_twenty_journals_are_read_and_the_others_counted(tmp_path: Path) -> None:
    for number in range(23):
        die_in(f"request {number}", tmp_path, f"{DEAD}{number:02}")
    with process(tmp_path) as after:
        lines: list[str] = []
        after.telemetry.guard = Guard(write=lines.append)
        after.telemetry.flush()
        assert len([span for span in after.spans if span.name == "orders"]) == 20
        assert [line.partition(": ")[2] for line in lines] == ["3 journals dropped (said once)"]
        assert [path.name for path in tmp_path.iterdir()] == [_own_name(after)]


@pytest.mark.parametrize(
    "content", [b"", b"not a journal", MAGIC + bytes(100), bytes(SIZE_MAX + 1)]
)
def test_a_file_that_is_no_journal_is_refused_with_one_line_and_deleted(
    tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path
    (folder / DEAD).write_bytes(content)
    with process(tmp_path) as recorded:
        lines: list[str] = []
        recorded.telemetry.guard = Guard(write=lines.append)
        recorded.telemetry.flush()
        assert recorded.spans == []
        assert len(lines) == (not content.startswith(MAGIC))
        assert not (folder / DEAD).exists()


def test_entries_of_another_shape_are_counted_and_the_others_taken(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    broken: list[Any] = [("span", 1), ("span",), ("end",), ("settled", 5), ("invocation", {}, [])]
    for entry in broken:
        journal.write(entry)
    (tmp_path / journal.name).rename(tmp_path / DEAD)
    with process(tmp_path) as recorded:
        lines: list[str] = []
        recorded.telemetry.guard = Guard(write=lines.append)
        recorded.telemetry.flush()
        assert recorded.spans == []
        assert [line.partition(": ")[2] for line in lines] == ["5 entries unreadable (said once)"]


ANY_ITEM = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 9)
    | st.floats()
    | st.sampled_from(["", "a", "1" * 16, "2" * 32, 10**30]),
    lambda items: st.lists(items, max_size=3) | st.lists(items, max_size=3).map(tuple),
    max_leaves=4,
)
ANY_KIND = st.sampled_from(
    [
        *("process", "child", "ready", "invocation", "root", "span", "begun", "ended", "set"),
        *("timeout", "end", "settled", "metric", "written", "log", "logged", "taken", "other"),
    ]
)
ANY_ENTRIES = st.lists(
    st.builds(lambda kind, items: (kind, *items), ANY_KIND, st.lists(ANY_ITEM, max_size=14)),
    max_size=4,
)
NAMED = ("process", "orders", "1", 1, 1, 1, "app")
UNNAMED: tuple[Any, ...] = ("invocation", 0, REQUEST, 1, "arn", -5, None, 1, 5, 6, 7, {}, {})
NO_METRIC: tuple[Any, ...] = ("metric", "r", "n", {}, 3, 4, 5, 6, 7, 8, 9, 10)
ENDLESS: tuple[Any, ...] = ("invocation", 0, REQUEST, 10**30, "arn", -5, "", 1, "", "", "", {}, {})


@example([("process",), ("process", "orders"), ("settled", 5), ("root",), ("taken", "x", [(1,)])])
@example([NAMED, UNNAMED, NO_METRIC])
@example([NAMED, ENDLESS, NO_METRIC])
@example([("metric", REQUEST, "n", (1,), "None", None, 60, None, None, None, 9, (1, 2, 3))])
@given(ANY_ENTRIES)
@settings(max_examples=40, deadline=None)
def test_whatever_is_in_one_journal_the_others_are_told_of(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("journals")
    with process(folder) as recorded:
        start(recorded)
        lambdatrace.metric("Kept", 1)
        with lambdatrace.span("work"):
            pass
        die(recorded)
    (folder / DEAD).rename(folder / ".lambdatrace-999999998-1")
    journal = Journal(str(folder))
    for entry in entries:
        journal.write(entry)
    (folder / journal.name).rename(folder / ".lambdatrace-999999999-2")
    with process(folder) as after:
        after.telemetry.guard = Guard(write=lambda _: None)
        after.telemetry.flush()
        assert [span.name for span in after.spans].count("work") == 1
        assert [1 for document in after.metric_documents if "Kept" in document] == [1]
        assert [path.name for path in folder.iterdir()] == [_own_name(after)]


@pytest.mark.parametrize("is_early", [True, False])
def test_where_the_disk_is_full_what_a_process_left_is_sent_and_makes_room_for_the_next_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_early: bool
) -> None:
    pwrite = os.pwrite

    def write_if_it_is_alone(descriptor: int, data: bytes, position: int) -> int:
        own = os.fstat(descriptor).st_ino
        for path in tmp_path.iterdir():
            if path.stat().st_size and path.stat().st_ino != own:
                raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, position)

    def names(recorded: Recorded) -> list[str]:
        return sorted(span.name for span in recorded.spans)

    with process(tmp_path) as recorded:
        start(recorded)
        lambdatrace.metric("Lost", 1)
        with lambdatrace.span("work"):
            die(recorded)
    monkeypatch.setattr(os, "pwrite", write_if_it_is_alone)
    with process(tmp_path, DOWN, DOWN, DOWN) as after:
        after.telemetry.finish_start()
        assert [path.name for path in tmp_path.iterdir()] == [DEAD], "none of no length"
        if is_early:
            after.telemetry.registered()
        else:
            after.telemetry.flush()
        assert _own_name(after) in [path.name for path in tmp_path.iterdir()]
        assert [entry[0] for entry in held(after)] == ["process", "ready", "taken", "written"]
        (document,) = [each for each in after.metric_documents if "Lost" in each]
        assert document["Lost"] == 1.0
        die(after)
    with process(tmp_path) as last:
        last.telemetry.flush()
        assert names(after) == []
        assert names(last) == ["orders", "work"]
        assert not [each for each in last.metric_documents if "Lost" in each]
        last.telemetry.flush()
        assert held(last) == []


def test_the_journal_of_a_process_that_runs_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.write(("timeout", "x"))
    assert is_alive(journal.name)
    assert not is_alive(DEAD)
    assert not is_alive("../../etc/passwd")
    journal.close()


def test_a_journal_that_a_process_died_over_is_taken_by_the_next(tmp_path: Path) -> None:
    with process(tmp_path) as recorded:
        start(recorded)
        die(recorded)
    (tmp_path / DEAD).rename(tmp_path / f"{DEAD}.3")
    (tmp_path / f"{DEAD}.new").write_bytes(b"half of a new one")
    with process(tmp_path) as after:
        after.telemetry.flush()
        assert [span.name for span in after.spans] == ["orders"]
        assert [path.name for path in tmp_path.iterdir()] == [_own_name(after)]


class Killed(BaseException):
    """In place of a SIGKILL: nothing of the process goes on."""


def die_while_it_recovers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: Any, method: str, number: int
) -> Recorded:
    """The process after a dead one, killed when it calls `method` of `place`; by its number."""

    def kill(*_: Any) -> None:
        raise Killed

    with process(folder, **COUNTING) as recorded:
        recorded.clock.advance(10_000)
        recorded.telemetry.finish_start()
        journal = recorded.telemetry.journal
        assert journal is not None
        monkeypatch.setattr(place, method, kill)
        with pytest.raises(Killed):
            recover(recorded.telemetry, journal, journal.others())
        monkeypatch.undo()
        for path in list(folder.glob(f"{journal.name}*")):
            last = path.name.removeprefix(journal.name)
            shutil.copy(path, folder / f"{DEAD.rpartition('-')[0]}-{number}{last}")
            if last:
                path.unlink()
    return recorded


@pytest.mark.parametrize(
    ("place", "method"),
    [
        (Journal, "write"),
        (recovery, "_delete"),
        (Metering, "put"),
        (Buffer, "put_back"),
    ],
)
def test_a_process_killed_while_it_recovers_leaves_all_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, method: str
) -> None:
    with process(tmp_path, **COUNTING) as recorded:
        start(recorded)
        with lambdatrace.span("work"):
            lambdatrace.metric("Orders", 1)
        die(recorded)
    killed = [
        die_while_it_recovers(tmp_path, monkeypatch, place, method, number) for number in (2, 3)
    ]
    with process(tmp_path, **COUNTING) as after:
        after.telemetry.flush()
        names = sorted(span.name for span in after.spans)
        documents = [document for each in [*killed, after] for document in each.metric_documents]
        (orders,) = [document for document in documents if "Orders" in document]
        assert (orders["Orders"], orders["requestId"]) == (1.0, REQUEST)
        assert orders["traceId"] == after.span("orders").trace_id
        assert names == ["orders", "work"]
        assert counted(*killed, after)["Errors"] == 1
        assert [path.name for path in tmp_path.iterdir()] == [_own_name(after)]


def fill(recorded: Recorded, record: Callable[[int], object]) -> None:
    """Call `record` until its entry has no room in the journal."""
    for number in count():
        if own_journal(recorded).dropped:
            return
        record(number)


@pytest.mark.parametrize("is_mapped", [False, True])
def test_what_was_written_and_sent_of_a_full_journal_does_not_come_again(
    tmp_path: Path, *, is_mapped: bool
) -> None:
    with process(tmp_path, **COUNTING) as recorded:
        running = start(recorded)
        if is_mapped:
            lambdatrace.flush()
        start_span = recorded.telemetry.tracer.start_span
        fill(recorded, lambda number: start_span(f"{number}", attributes={"a": "x" * 20_000}))
        for number in range(400):
            with lambdatrace.span("ended"):
                lambdatrace.metric(f"m{number}", 1)
        assert own_journal(recorded).dropped > 1, "of the small ones too"
        lambdatrace.flush()
        running.fail(ValueError("no"))
        die(recorded)
    with process(tmp_path, **COUNTING) as after:
        after.telemetry.flush()
        names = Counter(span.name for span in recorded.spans + after.spans)
        metrics = Counter(
            name
            for document in recorded.metric_documents + after.metric_documents
            for name in document
            if name[0] == "m"
        )
        assert metrics == {f"m{number}": 1 for number in range(400)}
        assert (names["ended"], names["orders"]) == (400, 1)
        assert counted(recorded, after)["Errors"] == 1


def test_what_has_no_room_in_one_entry_is_taken_over_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(tmp_path) as recorded:
        start(recorded)
        with lambdatrace.span("work"):
            pass
        die(recorded)
    with process(tmp_path) as after:
        monkeypatch.setattr("lambdatrace.journal._END_MAX", RESERVE + 2_000)
        journal = after.telemetry.journal
        assert journal is not None
        journal.settle(lambda: False, list)  # mapped, as after a response
        after.telemetry.flush()
        assert sorted(span.name for span in after.spans) == ["orders", "work"]


def test_a_compacted_journal_that_was_not_yet_renamed_counts(tmp_path: Path) -> None:
    with process(tmp_path) as recorded:
        start(recorded)
        (tmp_path / "old").write_bytes(_file(recorded).read_bytes())
        with lambdatrace.span("later"):
            pass
        die(recorded)
    (tmp_path / DEAD).rename(tmp_path / f"{DEAD}.new")
    (tmp_path / "old").rename(tmp_path / DEAD)
    with process(tmp_path) as after:
        after.telemetry.flush()
        assert [span.name for span in after.spans] == ["later", "orders"]
        assert [path.name for path in tmp_path.iterdir()] == [_own_name(after)]


def own_journal(recorded: Recorded) -> Journal:
    journal = recorded.telemetry.journal
    assert journal is not None
    return journal


def _file(recorded: Recorded) -> Path:
    return Path(own_journal(recorded).folder, own_journal(recorded).name)


def held(recorded: Recorded) -> list[Any]:
    return list(read_entries(_file(recorded).read_bytes()))


def _own_name(recorded: Recorded) -> str:
    assert recorded.telemetry.journal is not None
    return recorded.telemetry.journal.name


def test_a_compacted_journal_comes_to_the_same(tmp_path: Path) -> None:
    with process(tmp_path) as recorded:
        start(recorded)
        lambdatrace.metric("Lost", 2, unit="Count")
        for number in range(10):
            with lambdatrace.span(f"sent {number}"):
                pass
        lambdatrace.flush()
        lambdatrace.metric("Kept", 2, unit="Count")
        with lambdatrace.span("open"), lambdatrace.span("ended"):
            pass
        die(recorded)
    entries = list(_entries(tmp_path))
    kept = compacted(entries)
    assert [entry[0] for entry in kept] == [
        *("process", "invocation", "root", "metric"),
        *("span", "span", "span"),
    ]
    assert compacted(kept) == kept
    assert json.dumps(kept)
    assert len(kept) < len(entries)


def test_a_compacted_journal_of_spans_without_attributes_takes_no_more_room(tmp_path: Path) -> None:
    with process(tmp_path) as recorded:
        start(recorded)
        lambdatrace.flush()
        fill(recorded, lambda number: recorded.telemetry.tracer.start_span(f"open {number}"))
        journal = own_journal(recorded)
        journal.settled += 1_000_000
        before, position = Left(held(recorded)), journal.position
        lines: list[str] = []
        recorded.telemetry.guard = Guard(write=lines.append)
        recorded.telemetry.delivery._settle_journal()
        after = Left(held(recorded))
        assert journal.position <= position
        assert (after.spans, after.roots) == (before.spans, before.roots)
        assert len(after.spans) > 4_000
        assert [line.partition(":")[0] for line in lines] == [
            "the journal was full, or the function closed it"
        ]


KEYS = st.sampled_from("abc")
VALUES = st.one_of(st.integers(0, 9), st.text(max_size=3), st.lists(st.integers(0, 9), max_size=2))
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=3)
STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "given unnoted", "name", "fail"]), ATTRIBUTES),
    min_size=2,
    max_size=6,
)


@given(
    begun_with=ATTRIBUTES,
    steps=STEPS,
    is_mapped=st.booleans(),
    is_own_scope=st.booleans(),
    is_ended=st.sampled_from((True, True, True, False)),
)
@settings(max_examples=200, deadline=None)
def test_whatever_a_span_was_given_on_its_way_its_last_state_is_in_the_journal(
    begun_with: dict[str, Any],
    steps: list[tuple[str, dict[str, Any]]],
    *,
    is_mapped: bool,
    is_own_scope: bool,
    is_ended: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder, process(Path(folder)) as recorded:
        start(recorded)
        tracer = recorded.telemetry.tracer
        assert tracer.journal is not None
        if is_mapped:
            tracer.journal.settle(lambda: False, list)
        scope = OWN_SCOPE if is_own_scope else Scope("theirs", "2")
        span = tracer.start_span("call", attributes=begun_with, scope=scope)
        noted = dict(begun_with)  # what a crash now would leave
        for step, attributes in steps:
            if step == "set":
                tracer.set_attributes(span, attributes)
                noted.update(attributes)
            elif step == "given unnoted":
                span.set_attributes(attributes)
            elif step == "name":
                span.update_name("renamed")
            else:
                span.set_status(ERROR, "no")
        if is_ended:
            tracer.end_span(span)
        entries = read_entries(Path(folder, tracer.journal.name).read_bytes())
        left = Left(list(entries)).spans[span.span_id]
    whole = span_entry(span)
    if is_ended:
        assert left[:-1] == whole[:-1], "all but the request id, which it has from its begin"
    else:
        assert left[9] == noted
        assert left[14] == whole[14], "its scope"
    assert left[-1] == REQUEST


@contextmanager
def noting(folder: Path) -> Iterator[tuple[Recorded, Tracer, Journal]]:
    """A process whose first invocation has begun, and what it notes its spans with."""
    with process(folder) as recorded:
        start(recorded)
        tracer, journal = recorded.telemetry.tracer, recorded.telemetry.journal
        assert journal is not None
        yield recorded, tracer, journal


def test_what_ends_after_its_begin_was_forgotten_harms_nothing_that_is_there_instead(
    tmp_path: Path,
) -> None:
    with noting(tmp_path) as (recorded, tracer, journal):
        journal.settle(lambda: True, list)
        stray = tracer.start_span("stray")
        journal.settle(lambda: True, list)  # as when its invocation is over, and a thread has it
        later = tracer.start_span("later")
        tracer.end_span(stray)
        tracer.end_span(later)
        entries = list(read_entries(_file(recorded).read_bytes()))
    assert [(entry[0], entry[1]) for entry in entries] == [
        ("begun", later.span_id),
        ("ended", later.span_id),
        ("ended", stray.span_id),
    ]


def test_what_ends_while_the_journal_is_compacted_is_not_lost(tmp_path: Path) -> None:
    with noting(tmp_path) as (recorded, tracer, journal):
        journal.settle(lambda: False, list)
        span = tracer.start_span("work")
        for number in range(6):
            journal.write(("timeout", f"{number}" * 100_000))

        def keep(entries: list[Any]) -> list[Any]:
            tracer.end_span(span)  # in another thread, say, after it was read
            return [entry for entry in entries if entry[0] == "begun"]

        journal.settled = 9
        journal.settle(lambda: False, keep)
        entries = list(read_entries(_file(recorded).read_bytes()))
    assert [entry[:2] for entry in entries] == [("begun", span.span_id), ("ended", span.span_id)]


def test_what_begins_while_the_journal_is_compacted_ends_in_an_entry_of_its_own(
    tmp_path: Path,
) -> None:
    with noting(tmp_path) as (recorded, tracer, journal):
        journal.settle(lambda: False, list)
        for number in range(6):
            journal.write(("timeout", f"{number}" * 100_000))
        begun: list[Span] = []

        def keep(_: list[Any]) -> list[Any]:
            begun.append(tracer.start_span("meanwhile"))  # in another thread, say
            return []

        journal.settled = 9
        journal.settle(lambda: False, keep)
        later = [tracer.start_span(f"later {number}") for number in range(5000)]
        tracer.end_span(begun[0])
        entries = list(read_entries(_file(recorded).read_bytes()))
    told = [(entry[0], entry[1]) for entry in entries if entry[0] in ("begun", "ended")]
    assert told == [
        *(("begun", span.span_id) for span in (*begun, *later)),
        ("ended", begun[0].span_id),
    ]


def test_what_ends_in_the_moment_before_all_is_forgotten_is_not(tmp_path: Path) -> None:
    with noting(tmp_path) as (recorded, tracer, journal):
        journal.settle(lambda: False, list)
        span = tracer.start_span("work")

        def is_empty() -> bool:
            tracer.end_span(span)  # in another thread, which has not come to the buffer
            return True

        journal.settle(is_empty, list)
        left = Left(list(read_entries(_file(recorded).read_bytes())))
    assert left.spans[span.span_id] == (*span_entry(span)[:-1], REQUEST)


def test_a_span_whose_begin_had_no_room_is_noted_whole_at_its_end(tmp_path: Path) -> None:
    with noting(tmp_path) as (recorded, tracer, journal):
        journal.settle(lambda: False, list)
        while not journal.dropped:
            journal.write(("timeout", "x" * 50_000))
        for filler in (5_000, 500, 50, 5):
            before = journal.dropped
            while journal.dropped == before:
                journal.write(("timeout", "x" * filler))
        bare = tracer.start_span("bare")
        given = tracer.start_span("given", attributes={"a": 1})
        journal.settle(lambda: True, list)
        tracer.end_span(given)
        tracer.end_span(bare)
        left = Left(list(read_entries(_file(recorded).read_bytes())))
    assert {span.name: left.spans[span.span_id][9] for span in (bare, given)} == {
        "bare": {},
        "given": {"a": 1},
    }


@pytest.mark.parametrize("attributes", [{}, {"a": 1}])
def test_a_span_that_was_sent_open_is_sent_again_once_it_has_ended(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    with noting(tmp_path) as (recorded, tracer, journal):
        journal.settle(lambda: False, list)
        span = tracer.start_span("slow", attributes=attributes)
        journal.settled_spans([span.span_id])  # by the watchdog
        recorded.clock.advance(5)
        tracer.end_span(span)
        left = Left(list(read_entries(_file(recorded).read_bytes())))
    assert (span.span_id in left.settled, left.spans[span.span_id][8]) == (False, span.end_ns)


def test_an_attribute_of_another_threads_is_not_taken_for_noted(tmp_path: Path) -> None:
    with noting(tmp_path) as (recorded, tracer, journal):
        span = tracer.start_span("work")
        write = journal.attributes_set

        class Interrupted:
            """The journal, beside which another thread sets an attribute."""

            dropped = 0

            def attributes_set(self, span: Span, attributes: dict[str, Any]) -> bool:
                span.set_attribute("theirs", 1)
                return write(span, attributes)

        tracer.journal = Interrupted()  # type: ignore[assignment]
        tracer.set_attributes(span, {"ours": 2})
        tracer.journal = journal
        tracer.end_span(span)
        left = Left(list(read_entries(_file(recorded).read_bytes())))
    assert left.spans[span.span_id][9] == {"ours": 2, "theirs": 1}


FORKING = """
import multiprocessing, os, sys
import lambdatrace
from lambdatrace.testing import LambdaContext

def work(name, end):
    with lambdatrace.span(name):
        lambdatrace.metric("Worked", 1)
    end(0)

@lambdatrace.instrument
def handler(event, context):
    with lambdatrace.span("outer"):
        forked = os.fork()
        if forked == 0:
            work("forked", os._exit)
        child = multiprocessing.get_context("fork").Process(target=work, args=("process", sys.exit))
        child.start()
        child.join()
        os.waitid(os.P_PID, forked, os.WEXITED | os.WNOWAIT)  # it stays, as a zombie

handler({}, LambdaContext())
"""


def test_what_a_forked_child_records_is_sent_by_its_parent_with_the_trace(tmp_path: Path) -> None:
    environment = {
        "TMPDIR": str(tmp_path),
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",  # nobody listens: sent before the response
        "OTEL_TRACES_EXPORTER": "console",
    }
    ran = subprocess.run(
        [sys.executable, "-c", FORKING],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    documents = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    spans = {document["name"]: document for document in documents if "spanId" in document}
    assert {"forked", "process", "outer", "orders"} <= set(spans)
    for name in ("forked", "process"):
        assert spans[name]["parentSpanId"] == spans["outer"]["spanId"]
        assert spans[name]["traceId"] == spans["orders"]["traceId"]
    assert len([document for document in documents if "Worked" in document]) == 2
    assert len([document for document in documents if "spanId" in document]) == len(spans), "once"
    assert len(list(tmp_path.iterdir())) == 1, "that of the parent"


def test_a_forked_child_leaves_its_parents_journal_alone(tmp_path: Path) -> None:
    with process(tmp_path) as recorded:
        with lambdatrace.span("parent's"):
            pass
        file = _file(recorded)
        before = file.read_bytes()
        parents = recorded.telemetry.journal
        recorded.telemetry.forget_parent()
        assert recorded.telemetry.journal is not parents
        assert [path.name for path in tmp_path.iterdir()] == [file.name], "nothing was recorded yet"
        with lambdatrace.span("child's"):
            pass
        assert file.read_bytes() == before
        own = _file(recorded)
        assert own.name != file.name
        assert [entry[0] for entry in read_entries(own.read_bytes())] == ["child", "span", "ended"]


def test_a_worker_of_a_managed_instance_has_a_journal_from_its_first_invocation_on(
    tmp_path: Path,
) -> None:
    with process(tmp_path) as recorded:
        recorded.telemetry.function.is_multi_concurrent = True
        recorded.telemetry.forget_parent()
        assert recorded.telemetry.tracer.journal is None
        start(recorded)
        assert recorded.telemetry.tracer.journal is not None


def test_where_the_endpoint_does_not_answer_an_early_look_back_is_not_repeated_at_once(
    tmp_path: Path,
) -> None:
    die_in("request 0", tmp_path, DEAD)
    refused = Outcome(is_accepted=False, message="HTTP 503")
    with process(tmp_path, refused) as tries:
        tries.telemetry.registered()
        (timeout_s,) = tries._sink.timeouts_s
        assert timeout_s <= 0.25
        die(tries)
    with process(tmp_path) as keeps:
        keeps.telemetry.registered()
        assert keeps._sink.timeouts_s == []
    with process(tmp_path) as after:
        after.clock.advance(61_000)
        after.telemetry.registered()
        assert after.span("orders").attributes["faas.invocation_id"] == "request 0"

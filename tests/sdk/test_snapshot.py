from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import snapshot_restore_py
from hypothesis import given
from hypothesis import strategies as st

import lambdatrace
from lambdatrace import telemetry
from lambdatrace.guard import Guard
from lambdatrace.resource import resource_attributes
from lambdatrace.snapshot import RESTORE_NS_MAX, Moment, restore_started_ns
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT, START_NS, LambdaContext, MemorySink, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

S = 1_000_000_000
HOUR = 3600 * S
SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "AWS_LAMBDA_LOG_STREAM_NAME": ""}


@pytest.fixture(autouse=True)
def _no_hooks() -> Iterator[None]:
    registries = (
        snapshot_restore_py.get_before_snapshot(),
        snapshot_restore_py.get_after_restore(),
    )
    yield
    for registry in registries:
        registry.clear()


def run_before_snapshot() -> None:
    """As the runtime client does."""
    for function, arguments, keywords in reversed(snapshot_restore_py.get_before_snapshot()):
        function(*arguments, **keywords)


def run_after_restore() -> None:
    """As the runtime client does."""
    for function, arguments, keywords in snapshot_restore_py.get_after_restore():
        function(*arguments, **keywords)


def ignore(event: Any, context: Any) -> None:
    """Handle nothing."""


def test_what_is_told_of_a_restored_environment_is_its_restore() -> None:
    with recording(SNAP_START) as recorded:
        handler = lambdatrace.instrument(ignore)
        run_before_snapshot()
        recorded.clock.advance(3_600_000)
        run_after_restore()
        recorded.clock.advance(2)
        for _ in range(2):
            handler({}, LambdaContext())
        restore = recorded.span("restore orders")
        first, second = (span for span in recorded.spans if span.name == "orders")
    assert {span.name for span in recorded.spans} == {"restore orders", "orders"}
    assert restore.parent is first.context
    assert restore.attributes == {
        "faas.coldstart": True,
        "aws.lambda.initialization_type": "snap-start",
    }
    restored_ns = START_NS + HOUR
    assert restored_ns - S < restore.start_ns <= restore.end_ns == restored_ns
    assert (first.attributes["faas.coldstart"], second.attributes["faas.coldstart"]) == (
        True,
        False,
    )


def test_the_functions_own_hooks_are_part_of_the_restore() -> None:
    with recording(SNAP_START) as recorded:
        recorded.telemetry.start_extension()  # as the import of `instrument` does
        snapshot_restore_py.register_after_restore(recorded.clock.advance, 70)
        handler = lambdatrace.instrument(ignore)
        run_before_snapshot()
        recorded.clock.advance(3_600_000)
        run_after_restore()
        handler({}, LambdaContext())
        restore = recorded.span("restore orders")
    assert 70_000_000 <= restore.end_ns - restore.start_ns < S


def test_what_was_recorded_before_the_snapshot_is_sent_before_it() -> None:
    with recording(SNAP_START) as recorded:
        lambdatrace.instrument(ignore)
        with lambdatrace.span("load the model"):
            pass
        run_before_snapshot()
        assert [span.name for span in recorded.spans] == ["load the model"]
        assert len(recorded.telemetry.buffer) == 0


def test_each_restore_has_a_name_of_its_own_and_reads_the_environment_again() -> None:
    names = []
    with recording(SNAP_START) as recorded:
        lambdatrace.instrument(ignore)
        run_before_snapshot()
        recorded.telemetry.environ = {**ENVIRONMENT, **SNAP_START} | {"AWS_REGION": "eu-north-1"}
        for _ in range(2):
            run_after_restore()
            resource = resource_attributes(recorded.telemetry.function, "", {})
            names.append(resource["faas.instance"])
            assert resource["cloud.region"] == "eu-north-1"
    assert names == [f"{1:032x}", f"{2:032x}"]


def test_no_hook_is_registered_without_snapstart() -> None:
    with recording():
        lambdatrace.instrument(ignore)
    assert snapshot_restore_py.get_before_snapshot() == []
    assert snapshot_restore_py.get_after_restore() == []


def test_a_hook_of_ours_that_fails_does_not_fail_the_restore() -> None:
    reports: list[str] = []
    with recording(SNAP_START) as recorded:
        lambdatrace.instrument(ignore)
        recorded.telemetry.guard = Guard(write=reports.append)
        run_before_snapshot()
        recorded.telemetry.environ = None  # type: ignore[assignment]
        run_after_restore()
    assert reports == [
        (
            "SnapshotHooks._restore: AttributeError: 'NoneType' object has no attribute 'get' "
            "(said once)"
        )
    ]


def test_environments_of_one_snapshot_have_names_and_ids_of_their_own() -> None:
    """A fork copies the memory, as a snapshot does: what is random must not come from it."""
    before = telemetry.installed()
    current = Telemetry(
        {**ENVIRONMENT, **SNAP_START}, sink=MemorySink(), guard=Guard(is_strict=True)
    )
    telemetry.install(current)
    try:
        handler = lambdatrace.instrument(lambda event, context: lambdatrace.current_span().trace_id)
        current.ids.trace_id()  # what may have been drawn before
        run_before_snapshot()
        drawn = [forked(lambda: restored_identity(current, handler)) for _ in range(3)]
    finally:
        telemetry.install(before)
    assert [len(text) for text in drawn] == [32 + 32 + 16] * 3
    assert len(set(drawn)) == len({text[32:64] for text in drawn}) == 3


def restored_identity(current: Telemetry, handler: Any) -> str:
    run_after_restore()
    trace_id: str = handler({}, LambdaContext())
    return trace_id + current.function.instance + current.ids.span_id()


def forked(work: Callable[[], str]) -> str:
    """What `work` gives in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, work().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return text


TAKEN = Moment(START_NS, 50 * S, 2 * S)


@pytest.mark.parametrize(
    ("now", "expected_ns"),
    [
        # Lambda: only Unix time went on while the snapshot lay.
        (Moment(START_NS + HOUR, 50 * S + S // 2, 2 * S + S // 10), START_NS + HOUR - S // 2),
        # All clocks went on: the processor time is what is known of the restore.
        (Moment(START_NS + HOUR, 50 * S + HOUR, 2 * S + S // 10), START_NS + HOUR - S // 10),
        # At once: it cannot have begun before the snapshot was taken.
        (Moment(START_NS + 5, 50 * S + 5, 2 * S + 9), START_NS),
        # A clock that was set back.
        (Moment(START_NS - HOUR, 50 * S + 5, 2 * S + 9), START_NS - HOUR),
    ],
)
def test_when_the_restore_began_is_told_by_the_clocks_that_stood_still(
    now: Moment, expected_ns: int
) -> None:
    assert restore_started_ns(TAKEN, now) == expected_ns


@given(st.integers(-HOUR, 10 * HOUR), st.integers(0, 10 * HOUR), st.integers(0, HOUR))
def test_a_restore_never_begins_after_now_nor_takes_longer_than_lambda_lets_it(
    unix_ns: int, monotonic_ns: int, cpu_ns: int
) -> None:
    now = Moment(START_NS + unix_ns, 50 * S + monotonic_ns, 2 * S + cpu_ns)
    started_ns = restore_started_ns(TAKEN, now)
    assert now.unix_ns - max(cpu_ns, RESTORE_NS_MAX) <= started_ns <= now.unix_ns

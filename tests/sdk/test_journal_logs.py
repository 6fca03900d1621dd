"""Log records outlive the process that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.journal import SIZE_MAX
from lambdatrace.journal_logs import keep, numbered_entry, record_of
from lambdatrace.journal_state import compacted
from lambdatrace.log_record import LogRecord
from lambdatrace.records import Scope, SpanContext
from lambdatrace.testing import START_NS
from tests.sdk.test_recovery import DOWN, die, process, start

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.testing import Recorded

OTLP = {"OTEL_LOGS_EXPORTER": "otlp"}


def log(recorded: Recorded, body: object, **fields: object) -> LogRecord:
    record = LogRecord(body, recorded.clock.time_ns(), attributes=fields)
    keep(recorded.telemetry, record)
    return record


def bodies(recorded: Recorded) -> list[object]:
    return [record.body for record in recorded.log_records]


def test_the_next_process_sends_what_was_not_sent_and_nothing_else(tmp_path: Path) -> None:
    with process(tmp_path, **OTLP) as recorded:
        start(recorded)
        log(recorded, "sent")
        recorded.telemetry.flush()
        log(recorded, {"order": [1, 2]}, total=9.5, tags=["a", "b"])
        die(recorded)
        assert bodies(recorded) == ["sent"]
    with process(tmp_path, **OTLP) as after:
        log(after, "own")
        after.telemetry.flush()
        after.telemetry.flush()
        assert bodies(after) == [{"order": [1, 2]}, "own"]
        found = after.log_records[0]
        assert found.attributes == {"total": 9.5, "tags": ["a", "b"]}
        assert found.observed_ns == START_NS


def test_what_the_next_process_could_not_send_either_the_one_after_it_sends(
    tmp_path: Path,
) -> None:
    with process(tmp_path, **OTLP) as recorded:
        log(recorded, "first")
        die(recorded)
    with process(tmp_path, *[DOWN] * 9, **OTLP) as after:
        after.clock.advance(1)
        log(after, "second")
        after.telemetry.flush()
        assert bodies(after) == []
        die(after)
    with process(tmp_path, **OTLP) as last:
        last.telemetry.flush()
        assert bodies(last) == ["first", "second"]


def test_a_record_comes_back_as_it_was() -> None:
    record = LogRecord(
        b"body",
        2,
        time_ns=1,
        severity_number=9,
        severity_text="INFO",
        attributes={"a": 1},
        context=SpanContext("ab" * 16, "cd" * 8, is_sampled=False, trace_state="k=v"),
        event_name="ordered",
        scope=Scope("orders", "1", schema_url="https://x", attributes={"b": 2}),
    )
    record.dropped_attributes = 3
    entry = numbered_entry(record)
    back = record_of(entry)
    assert numbered_entry(back)[2:] == entry[2:]
    assert back.scope.attributes == {"b": 2}
    assert (back.context is not None, back.context and back.context.is_sampled) == (True, False)


def test_logs_fill_half_of_the_journal_and_leave_the_rest_to_spans(tmp_path: Path) -> None:
    with process(tmp_path, **OTLP) as recorded:
        journal = recorded.telemetry.journal
        assert journal is not None
        for number in range(12):
            log(recorded, str(number) * 100_000)
        assert SIZE_MAX // 2 < journal.position < SIZE_MAX * 3 // 4
        assert journal.dropped == 0
        assert recorded.telemetry.guard.failures == 1
        recorded.telemetry.flush()
        assert len(bodies(recorded)) == 12


def test_looking_through_a_journal_keeps_the_logs_that_were_not_sent() -> None:
    entries = [numbered_entry(LogRecord(body, START_NS)) for body in ("a", "b", "c")]
    kept = compacted([*entries, ("logged", [entries[0][1], entries[2][1]])])
    assert kept == [entries[1]]

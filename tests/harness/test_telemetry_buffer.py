from __future__ import annotations

from lambdatrace.harness.telemetry_api import Buffering
from lambdatrace.harness.telemetry_buffer import TelemetryBuffer


def test_a_batch_is_due_when_its_time_is_up() -> None:
    buffer = TelemetryBuffer(Buffering(1000, 262_144, 100))
    empty = buffer.due_s
    buffer.put(b"1", 5.0)
    buffer.put(b"2", 5.05)
    assert (empty, buffer.due_s) == (None, 5.1)
    assert buffer.take(5.09) == []
    assert buffer.take(5.1) == [b"1", b"2"]
    assert (buffer.take(9.0), buffer.due_s) == ([], None)


def test_a_batch_is_due_when_it_has_enough_events_and_has_no_more() -> None:
    buffer = TelemetryBuffer(Buffering(max_items=2, timeout_ms=1000))
    for number in range(3):
        buffer.put(b"%d" % number, 1.0)
    assert buffer.take(1.0) == [b"0", b"1"]
    assert buffer.take(1.0) == []
    assert buffer.take(2.0) == [b"2"]


def test_a_batch_is_due_when_it_has_enough_bytes_and_has_no_more_but_for_a_single_event() -> None:
    buffer = TelemetryBuffer(Buffering(max_bytes=10, timeout_ms=1000))
    buffer.put(b"12345", 1.0)
    buffer.put(b"x", 1.0)
    assert buffer.take(1.0) == []
    buffer.put(b"longer than a batch", 1.0)
    assert [buffer.take(1.0) for _ in range(3)] == [[b"12345", b"x"], [b"longer than a batch"], []]


def test_what_has_no_room_is_dropped_and_counted() -> None:
    buffer = TelemetryBuffer(Buffering(max_items=2))
    for number in range(11):
        buffer.put(b"%02d" % number, 1.0)
    assert buffer.take_dropped() == (3, 6)
    assert buffer.take_dropped() == (0, 0)
    taken = [buffer.take(1.0) for _ in range(5)]
    assert taken == [[b"00", b"01"], [b"02", b"03"], [b"04", b"05"], [b"06", b"07"], []]


def test_a_flush_makes_all_that_waits_due() -> None:
    buffer = TelemetryBuffer(Buffering(max_items=2, timeout_ms=1000))
    buffer.flush()
    for number in range(3):
        buffer.put(b"%d" % number, 1.0)
    buffer.flush()
    assert [buffer.take(1.0) for _ in range(3)] == [[b"0", b"1"], [b"2"], []]
    buffer.put(b"3", 1.0)
    assert buffer.take(1.0) == []

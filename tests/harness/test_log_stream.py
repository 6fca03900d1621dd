from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.harness import Function, LoggingConfig
from lambdatrace.harness.log_stream import (
    EVENT_BYTES_MAX,
    FrameReader,
    LineReader,
    LogTail,
    log_stream_name,
)
from lambdatrace.harness.telemetry_events import timestamp

if TYPE_CHECKING:
    from pathlib import Path


def frame(message: bytes, timestamp_us: int = 5_000_000) -> bytes:
    """A record as awslambdaric writes it."""
    head = b"\xa5\x5a\x00\x03" + len(message).to_bytes(4, "big") + timestamp_us.to_bytes(8, "big")
    return head + message


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at these positions."""
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 300)))
def test_a_frame_is_one_event_however_the_bytes_arrive(
    messages: list[bytes], cuts: list[int]
) -> None:
    reader = FrameReader()
    data = b"".join(frame(m, 1000 * n) for n, m in enumerate(messages))
    found = [event for piece in pieces(data, cuts) for event in reader.feed(piece, 7)]
    assert found == list(enumerate(messages))


def test_bytes_that_are_no_frame_become_an_event_and_the_next_frame_is_found() -> None:
    reader = FrameReader()
    data = b"something else wrote here" + frame(b"hello")
    assert reader.feed(data, 7) == [(7, b"something else wrote here"), (5000, b"hello")]


def test_a_length_nobody_means_is_damage_and_not_waited_for() -> None:
    reader = FrameReader()
    damaged = b"\xa5\x5a\x00\x03" + b"\xff" * 12
    assert reader.feed(damaged + frame(b"after"), 7) == [(7, damaged), (5000, b"after")]


def test_a_time_that_cannot_be_written_is_that_of_the_reading() -> None:
    year_10000_us = 253_402_300_800 * 1_000_000
    data = b"".join(frame(b"x", us) for us in (year_10000_us - 1, year_10000_us, 2**63))
    assert FrameReader().feed(data, 7) == [(253_402_300_799_999, b"x"), (7, b"x"), (7, b"x")]
    assert timestamp(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"


def test_a_record_longer_than_an_event_is_cut() -> None:
    assert FrameReader().feed(frame(b"x" * (EVENT_BYTES_MAX + 1)), 7) == [
        (5000, b"x" * EVENT_BYTES_MAX),
        (5000, b"x"),
    ]


@given(
    st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b)), st.lists(st.integers(0, 90))
)
def test_lines_keep_their_newline_however_the_bytes_arrive(
    lines: list[bytes], cuts: list[int]
) -> None:
    reader = LineReader()
    wanted = [line + b"\n" for line in lines]
    found = [line for piece in pieces(b"".join(wanted), cuts) for line in reader.feed(piece)]
    assert found == wanted
    assert reader.finish() == []


def test_an_unfinished_line_waits_for_its_end() -> None:
    reader = LineReader()
    assert reader.feed(b"first\nsec") == [b"first\n"]
    assert reader.feed(b"ond\nrest") == [b"second\n"]
    assert reader.finish() == [b"rest"]
    assert reader.finish() == []


def test_a_line_without_end_is_given_out_in_pieces() -> None:
    reader = LineReader()
    assert reader.feed(b"x" * (EVENT_BYTES_MAX + 5)) == [b"x" * EVENT_BYTES_MAX]
    assert reader.feed(b"\n") == [b"xxxxx\n"]


def test_a_tail_is_the_last_4_kb_of_text() -> None:
    tail = LogTail(is_json=False)
    for letter in "abc":
        tail.add(letter * 2000 + "\n")
    assert tail.content() == b"a" * 93 + b"\n" + b"b" * 2000 + b"\n" + b"c" * 2000 + b"\n"


def test_a_tail_of_json_has_whole_records_only() -> None:
    tail = LogTail(is_json=True)
    for letter in "abc":
        tail.add(letter * 2000 + "\n")
    assert tail.content() == b"b" * 2000 + b"\n" + b"c" * 2000 + b"\n"
    tail.add("d" * 5000)
    assert tail.content() == b""


def test_a_tail_keeps_little_of_a_long_log() -> None:
    tail = LogTail(is_json=False)
    for _ in range(1000):
        tail.add("x" * 1000)
    assert tail.content() == b"x" * 4096
    assert LogTail(is_json=False).content() == b""


@pytest.mark.parametrize(
    ("log_group", "expected"),
    [("", "2026/01/02/[$LATEST]00ff"), ("/shared", "2026/01/02/f[$LATEST][00ff]")],
)
def test_a_log_stream_is_named_by_the_day(log_group: str, expected: str, tmp_path: Path) -> None:
    config = LoggingConfig(log_group=log_group)
    function = Function("f", "app.handler", code_dir=tmp_path, logging_config=config)
    now = time.strptime("2026-01-02 03:04:05", "%Y-%m-%d %H:%M:%S")
    assert log_stream_name(function, "$LATEST", now, "00ff") == expected

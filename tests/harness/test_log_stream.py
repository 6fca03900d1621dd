from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.harness.log_stream import EVENT_BYTES_MAX, FrameReader, LineReader


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

"""What a function writes, cut into log events: framed records and plain lines."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lambdatrace.harness.function import Function

LOG_TAIL_BYTES = 4096  # of an invoke's log, for a caller that asks for it
EVENT_BYTES_MAX = 256 * 1024  # CloudWatch Logs takes no longer event
FRAME_BYTES_MAX = 32 * 1024 * 1024  # a longer length is taken for damage, not waited for
TIME_MS_MAX = 253_402_300_799_999  # the year 9999's last: no later time can be written
_FRAME_HEADER_BYTES = 16
_FRAME_MAGIC = b"\xa5\x5a\x00"


class LogEvent(NamedTuple):
    """One event of a log stream, as CloudWatch Logs would store it."""

    timestamp_ms: int
    message: str
    log_stream: str


def log_stream_name(function: Function, version: str, now: time.struct_time, number: str) -> str:
    """The stream of a version's environment that began at `now` (UTC).

    `number` is 32 hexadecimal digits.

    A log group of the function's own may be shared, so that its streams name the function.
    """
    day = time.strftime("%Y/%m/%d", now)
    if function.logging_config.log_group:
        return f"{day}/{function.name}[{version}][{number}]"
    return f"{day}/[{version}]{number}"


class LogTail:
    """The end of one invoke's log, for its caller: at most 4 KB, of whole records in JSON."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._records: deque[bytes] = deque()
        self._bytes = 0

    def add(self, message: str) -> None:
        """Takes one log event; the oldest ones go when there are too many."""
        record = message.encode("utf-8", "replace")
        self._records.append(record)
        self._bytes += len(record)
        while self._bytes - len(self._records[0]) >= LOG_TAIL_BYTES:
            self._bytes -= len(self._records.popleft())

    def content(self) -> bytes:
        """What the caller gets."""
        if not self._is_json:
            return b"".join(self._records)[-LOG_TAIL_BYTES:]
        while self._bytes > LOG_TAIL_BYTES:
            self._bytes -= len(self._records.popleft())
        return b"".join(self._records)


class FrameReader:
    """Records from `_LAMBDA_TELEMETRY_LOG_FD`: one frame is one event, whatever newlines it has.

    A frame is `type(4) | length(4) | microseconds since the epoch(8) | message`, big-endian; the
    type's first three bytes are A5 5A 00. Source: awslambdaric, `FramedTelemetryLogSink`.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes, now_ms: int) -> list[tuple[int, bytes]]:
        """(milliseconds, message) of each frame completed by `data`.

        Bytes that are no frame (something else wrote to the pipe) become one event at `now_ms`,
        which is the time too of a frame whose own is none that can be written.
        """
        self._buffer += data
        frames: list[tuple[int, bytes]] = []
        while len(self._buffer) >= _FRAME_HEADER_BYTES:
            header = self._buffer[:_FRAME_HEADER_BYTES]
            length = int.from_bytes(header[4:8], "big")
            if header[:3] != _FRAME_MAGIC or length > FRAME_BYTES_MAX:
                frames.append((now_ms, self._take_until_frame()))
                continue
            end = _FRAME_HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            timestamp_ms = int.from_bytes(header[8:16], "big") // 1000
            if timestamp_ms > TIME_MS_MAX:
                timestamp_ms = now_ms
            message = bytes(self._buffer[_FRAME_HEADER_BYTES:end])
            frames += [(timestamp_ms, piece) for piece in _pieces(message)]
            del self._buffer[:end]
        return frames

    def _take_until_frame(self) -> bytes:
        position = self._buffer.find(_FRAME_MAGIC, 1)
        end = len(self._buffer) if position < 0 else position
        taken = bytes(self._buffer[:end])
        del self._buffer[:end]
        return taken


def _pieces(message: bytes) -> list[bytes]:
    if len(message) <= EVENT_BYTES_MAX:
        return [message]
    return [message[i : i + EVENT_BYTES_MAX] for i in range(0, len(message), EVENT_BYTES_MAX)]


class LineReader:
    """Lines from standard output and error, each with its newline, as Lambda keeps them.

    An unfinished line waits for its end, across invokes if need be; one that reaches the longest
    event CloudWatch Logs takes is given out in pieces.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines completed by `data`."""
        if not self._rest and data.endswith(b"\n") and data.find(b"\n") == len(data) - 1:
            return [data]
        *lines, self._rest = (self._rest + data).split(b"\n")
        complete = [line + b"\n" for line in lines]
        while len(self._rest) >= EVENT_BYTES_MAX:
            complete.append(self._rest[:EVENT_BYTES_MAX])
            self._rest = self._rest[EVENT_BYTES_MAX:]
        return complete

    def finish(self) -> list[bytes]:
        """What is left without a newline when the writers have gone."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []

"""The X-Ray segments Lambda makes of an invoke of a function whose tracing is active.

Two segments of the function's name: `AWS::Lambda`, the service's, below the caller's, and
`AWS::Lambda::Function`, the function's, below that; what the function records is below its own. An
asynchronous invoke has, in the service's, the time it waited and a subsegment for each attempt.
Values in, documents out; only `Daemon` has a socket. Source: AWS Lambda developer guide, "Visualize
Lambda function invocations using AWS X-Ray" (the new-style structure); X-Ray developer guide,
"X-Ray segment documents".
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdatrace.harness.errors import HarnessSettingsError
from lambdatrace.harness.function import ACCOUNT_ID

if TYPE_CHECKING:
    from lambdatrace.harness.invocation import Invocation

HEADER = b'{"format": "json", "version": 1}\n'
PORT_MAX = 65_535
DATAGRAM_BYTES_MAX = 65_507  # of UDP over IPv4
_OWN_FIELDS = frozenset({"root", "parent", "sampled"})


@dataclass(frozen=True)
class Trace:
    """Where the segments of a sampled invoke belong, and their ids. `received_s` is Unix time.

    `parent_id` is the caller's segment, empty without one. `attempt` is 0 for a synchronous invoke;
    an attempt at an asynchronous one has a subsegment of its own, and so a function's segment.
    """

    trace_id: str
    parent_id: str
    segment_id: str
    function_segment_id: str
    received_s: float
    rest: str = ""
    attempt: int = 0
    attempt_id: str = ""

    @property
    def header(self) -> str:
        """The tracing header the function gets: what it records belongs to its own segment."""
        return f"Root={self.trace_id};Parent={self.function_segment_id};Sampled=1{self.rest}"

    def next_attempt(self, number: int) -> Trace:
        """The same trace for one attempt at an asynchronous invoke, the first one 1."""
        return replace(self, function_segment_id=new_id(), attempt=number, attempt_id=new_id())


class Run(NamedTuple):
    """What the segments say beside the invocation's own times. `ended_ns` is on their clock.

    `init` is from when to when, in Unix time, the environment was initialized, if this was the
    first invoke in it.
    """

    ended_ns: int
    is_failed: bool = False
    init: tuple[float, float] | None = None
    has_extensions: bool = False


def begin(incoming: str, header: str, received_s: float) -> Trace | None:
    """The trace of an invoke whose decided header is `header`, None if that is not sampled.

    `incoming` is what the caller sent: only its Parent is a segment.
    """
    fields = _fields(header)
    if fields.get("sampled") != "1":
        return None
    others = [part for part in header.split(";") if _key(part) not in _OWN_FIELDS]
    return Trace(
        fields["root"],
        _fields(incoming).get("parent", ""),
        new_id(),
        new_id(),
        received_s,
        "".join(f";{part.strip()}" for part in others if part.strip()),
    )


def new_id() -> str:
    """An id for a segment."""
    return os.urandom(8).hex()


def segments(trace: Trace, function_name: str, invocation: Invocation, run: Run) -> list[Any]:
    """The documents of one executed invoke or attempt."""
    arn = _unqualified(invocation.invoked_function_arn)
    started_ns, responded_ns = invocation.started_ns, invocation.responded_ns
    done_ns = invocation.runtime_done_ns or run.ended_ns
    function: dict[str, Any] = {
        "name": function_name,
        "id": trace.function_segment_id,
        "trace_id": trace.trace_id,
        "parent_id": trace.attempt_id or trace.segment_id,
        "start_time": invocation.started_ms / 1000,
        "end_time": _at_s(invocation, run.ended_ns),
        "origin": "AWS::Lambda::Function",
        "resource_arn": arn,
        "aws": {
            "account_id": ACCOUNT_ID,
            "function_arn": invocation.invoked_function_arn,
            "request_id": invocation.request_id,
            "resource_names": [function_name],
        },
        "annotations": {
            "aws.responseLatency": _ms(started_ns, responded_ns),
            "aws.responseDuration": 0.0,  # a response is passed on when it is here whole
            "aws.runtimeOverhead": _ms(responded_ns, done_ns),
        },
    }
    if run.has_extensions:
        function["annotations"]["aws.extensionOverhead"] = _ms(done_ns, run.ended_ns)
    if run.is_failed:
        function["fault"] = True
        payload = invocation.outcome.payload if invocation.outcome else b""
        function["cause"] = error_cause(invocation.error_cause, payload)
    if run.init:
        started_s, ended_s = run.init
        init = {"id": new_id(), "name": "Init", "start_time": started_s, "end_time": ended_s}
        function["subsegments"] = [{**init, "aws": {"function_arn": arn}}]
    return [*_service_documents(trace, function_name, invocation, run), function]


def refused(trace: Trace, function_name: str, invocation: Invocation, now_s: float) -> list[Any]:
    """The document of a throttled invoke: the service's segment alone."""
    segment = _service_segment(trace, function_name, invocation, now_s, 429)
    return [{**segment, "error": True, "throttle": True}]


def error_cause(cause: str, payload: bytes) -> dict[str, Any]:
    """The cause of a function's error: the runtime client's JSON, or what the error payload says.

    Source: `Lambda-Runtime-Function-XRay-Error-Cause`, in awslambdaric's `make_xray_fault`.
    """
    found = _object(cause)
    if isinstance(found.get("exceptions"), list):
        exceptions = [e for e in found["exceptions"] if isinstance(e, dict)]
    else:
        error = _object(payload)
        exceptions = [{"type": error.get("errorType"), "message": error.get("errorMessage")}]
        found = {"working_directory": "", "paths": []}
    return {**found, "exceptions": [{"id": new_id(), **exception} for exception in exceptions]}


class Daemon:
    """Where an X-Ray daemon listens. Nobody answers: only `refused_documents` can be known."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.refused_documents = 0

    def send(self, documents: list[Any]) -> None:
        """Sends each document as a datagram; one too long goes without its cause."""
        for document in documents:
            data = HEADER + json.dumps(document, separators=(",", ":")).encode()
            if len(data) > DATAGRAM_BYTES_MAX:
                short = {key: value for key, value in document.items() if key != "cause"}
                data = HEADER + json.dumps(short, separators=(",", ":")).encode()
            try:
                self._socket.sendto(data, self._address)
            except OSError:  # no room, or nobody there
                self.refused_documents += 1

    def close(self) -> None:
        """Gives the socket back."""
        with contextlib.suppress(OSError):
            self._socket.close()


def daemon_address(text: str) -> tuple[str, int]:
    """Host and port of AWS_XRAY_DAEMON_ADDRESS: `host:port`, or `tcp:host:port udp:host:port`.

    Raises HarnessSettingsError.
    """
    parts = [part for part in text.split() if not part.startswith("tcp:")]
    host, _, port = (parts or [""])[-1].removeprefix("udp:").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= PORT_MAX:
        raise HarnessSettingsError(f"X-Ray daemon '{text}': expected an address, as 127.0.0.1:2000")
    return host, int(port)


def resolve(text: str) -> tuple[str, int]:
    """A daemon's address with its host as a number: a name would be asked for with each segment.

    Waits for the name service. Raises HarnessSettingsError.
    """
    host, port = daemon_address(text)
    try:
        return socket.gethostbyname(host), port
    except (OSError, UnicodeError) as error:
        raise HarnessSettingsError(f"X-Ray daemon '{text}': {error}") from error


def _service_documents(
    trace: Trace, function_name: str, invocation: Invocation, run: Run
) -> list[Any]:
    responded_s = _at_s(invocation, invocation.responded_ns)
    if not trace.attempt:
        return [_service_segment(trace, function_name, invocation, responded_s, 200)]
    attempt = {
        "id": trace.attempt_id,
        "name": f"Attempt #{trace.attempt}",
        "start_time": invocation.started_ms / 1000,
        "end_time": responded_s,
        "http": {"response": {"status": 200}},
    }
    if run.is_failed:
        attempt["fault"] = True
    if trace.attempt > 1:  # the segment was sent with the first: this is a part of it by itself
        independent = {"type": "subsegment", "trace_id": trace.trace_id}
        return [{**attempt, **independent, "parent_id": trace.segment_id}]
    segment = _service_segment(trace, function_name, invocation, responded_s, 202)
    waited = {
        "id": new_id(),
        "name": "Dwell Time",
        "start_time": trace.received_s,
        "end_time": invocation.started_ms / 1000,
    }
    return [{**segment, "subsegments": [waited, attempt]}]


def _service_segment(
    trace: Trace, function_name: str, invocation: Invocation, ended_s: float, status: int
) -> dict[str, Any]:
    segment = {
        "name": function_name,
        "id": trace.segment_id,
        "trace_id": trace.trace_id,
        "start_time": trace.received_s,
        "end_time": ended_s,
        "origin": "AWS::Lambda",
        "resource_arn": _unqualified(invocation.invoked_function_arn),
        "http": {"response": {"status": status}},
        "aws": {"request_id": invocation.request_id},
    }
    return {**segment, "parent_id": trace.parent_id} if trace.parent_id else segment


def _unqualified(arn: str) -> str:
    return ":".join(arn.split(":")[:7])


def _at_s(invocation: Invocation, at_ns: int) -> float:
    """Unix time of a moment on the clock the invocation's times are on."""
    return invocation.started_ms / 1000 + (at_ns - invocation.started_ns) / 1e9


def _ms(start_ns: int, end_ns: int) -> float:
    return round(max(0, end_ns - start_ns) / 1e6, 3)


def _fields(header: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in header.split(";"))
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _key(part: str) -> str:
    return part.partition("=")[0].strip().lower()


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

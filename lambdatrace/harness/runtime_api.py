"""The Lambda Runtime API, 2018-06-01, as a state machine without I/O.

    STARTED ── restore next ──▶ RESTORE_READY ── restore ──▶ RESTORING ── next ──▶ READY
                                                              └── restore error ──▶ INIT_ERROR
    STARTED ── next ──▶ READY ── deliver ──▶ RUNNING ── response | error ──▶ RESPONDED ── next ─┐
       └── init error ──▶ INIT_ERROR          ▲  └ next: the same event again                   │
                             READY ───────────┴─────────────────────────────────────────────────┘

Calls come in as values and give a `Step`: the answer for the runtime (None: it waits, parked) and
what the call means for the environment. The HTTP shell is `environment_api`.
Source: AWS Lambda developer guide, "Using the Lambda runtime API"; aws-lambda-runtime-interface-
emulator, `internal/lambda/rapi`.
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from typing import NamedTuple

RESPONSE_BYTES_MAX = 6 * 1024 * 1024 + 100  # what the Runtime API takes as one response
ERROR_CAUSE_BYTES_MAX = 64 * 1024  # Lambda keeps no longer X-Ray error cause
_ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")


class RuntimeState(enum.Enum):
    """What the runtime client has done so far."""

    STARTED = "Started"
    INIT_ERROR = "InitError"
    RESTORE_READY = "RestoreReady"
    RESTORING = "Restoring"
    READY = "Ready"
    RUNNING = "Running"
    RESPONDED = "ResponseSent"


class Meaning(enum.Enum):
    """What a call of the runtime means for its environment."""

    NOTHING = "nothing"
    NEXT = "asked for the next event"
    REPEAT = "asked again for the event it already has"
    RESPONSE = "the invoke has a response"
    ERROR = "the invoke failed in the function"
    TOO_LARGE = "the response was over the limit"
    INIT_ERROR = "the function could not be loaded"


class Answer(NamedTuple):
    """An HTTP answer: status, JSON body, further header lines (each ending in CRLF)."""

    status: int
    body: bytes
    headers: bytes = b""


class Step(NamedTuple):
    """What follows from a call: the answer now (None: the caller waits) and the call's meaning."""

    answer: Answer | None
    meaning: Meaning
    error_type: str = ""


@dataclass(frozen=True)
class Event:
    """An invoke as the runtime receives it: the body of `next` and the values of its headers."""

    request_id: str
    body: bytes
    deadline_ms: int
    trace_header: str
    invoked_function_arn: str
    client_context: str = ""
    tenant_id: str = ""


ACCEPTED = Answer(202, b'{"status":"OK"}\n')


def api_error(status: int, error_type: str, message: str) -> Answer:
    """An error in the shape of the Runtime and Extensions APIs."""
    body = json.dumps({"errorMessage": message, "errorType": error_type})
    return Answer(status, body.encode())


def event_answer(event: Event) -> Answer:
    """The answer of `next` that carries `event`; empty headers are left out, as on AWS."""
    headers = (
        f"Lambda-Runtime-Aws-Request-Id: {event.request_id}\r\n"
        f"Lambda-Runtime-Deadline-Ms: {event.deadline_ms}\r\n"
        f"Lambda-Runtime-Invoked-Function-Arn: {event.invoked_function_arn}\r\n"
        f"Lambda-Runtime-Trace-Id: {event.trace_header}\r\n"
    )
    if event.client_context:
        headers += f"Lambda-Runtime-Client-Context: {event.client_context}\r\n"
    if event.tenant_id:
        headers += f"Lambda-Runtime-Aws-Tenant-Id: {event.tenant_id}\r\n"
    return Answer(200, event.body, headers.encode())


def kept_error_cause(header: str) -> str:
    """What Lambda keeps of `Lambda-Runtime-Function-XRay-Error-Cause`: nothing of a longer one."""
    return header if len(header) <= ERROR_CAUSE_BYTES_MAX else ""


def function_error_type(header: str) -> str:
    """The error type Lambda keeps of `Lambda-Runtime-Function-Error-Type`.

    Types outside `Runtime.*` and `Function.*` are the function's own exception names in practice;
    Lambda's own records call them Function.Unknown, and anything malformed Runtime.Unknown.
    """
    if _ERROR_TYPE.fullmatch(header):
        return header
    return "Function.Unknown" if header.startswith("Function.") else "Runtime.Unknown"


class RuntimeApi:
    """What one runtime process may call, and what each call means. One per process generation."""

    def __init__(self) -> None:
        self.state = RuntimeState.STARTED
        self._request_id = ""

    @property
    def is_waiting(self) -> bool:
        """The runtime has asked for an event, or for its restore, and has none."""
        return self.state in (RuntimeState.READY, RuntimeState.RESTORE_READY)

    @property
    def is_snapshot(self) -> bool:
        """The runtime is to be restored before it can take an event."""
        return self.state is RuntimeState.RESTORE_READY

    def next(self) -> Step:
        """GET /runtime/invocation/next."""
        if self.state is RuntimeState.RUNNING:
            return Step(None, Meaning.REPEAT)
        if self.state is RuntimeState.INIT_ERROR:
            return self._refuse(RuntimeState.READY)
        self.state = RuntimeState.READY
        return Step(None, Meaning.NEXT)

    def restore_next(self) -> Step:
        """GET /runtime/restore/next: the function is loaded, its environment may be a snapshot."""
        if self.state is not RuntimeState.STARTED:
            return self._refuse(RuntimeState.RESTORE_READY)
        self.state = RuntimeState.RESTORE_READY
        return Step(None, Meaning.NEXT)

    def restore(self) -> Answer:
        """The answer to the parked `restore next`: the environment has been restored."""
        self.state = RuntimeState.RESTORING
        return Answer(200, b"")

    def restore_error(self, error_type: str) -> Step:
        """POST /runtime/restore/error: an after-restore hook failed."""
        if self.state is not RuntimeState.RESTORING:
            return self._refuse(RuntimeState.INIT_ERROR)
        self.state = RuntimeState.INIT_ERROR
        return Step(ACCEPTED, Meaning.INIT_ERROR, function_error_type(error_type))

    def deliver(self, event: Event) -> Answer:
        """Gives `event` to the waiting runtime: the answer to its parked `next`."""
        self.state = RuntimeState.RUNNING
        self._request_id = event.request_id
        return event_answer(event)

    def response(self, request_id: str, body_bytes: int, response_mode: str = "") -> Step:
        """POST /runtime/invocation/{id}/response with a body of `body_bytes`."""
        refusal = self._refuse_result(request_id)
        if refusal:
            return refusal
        if response_mode and response_mode != "streaming":
            return Step(
                api_error(
                    400,
                    "InvalidFunctionResponseMode",
                    f"Invalid response mode '{response_mode}': 'streaming' is the only value",
                ),
                Meaning.NOTHING,
            )
        self.state = RuntimeState.RESPONDED
        if body_bytes > RESPONSE_BYTES_MAX:
            message = f"Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
            return Step(
                api_error(413, "RequestEntityTooLarge", message),
                Meaning.TOO_LARGE,
                "Function.ResponseSizeTooLarge",
            )
        return Step(ACCEPTED, Meaning.RESPONSE)

    def error(self, request_id: str, error_type: str) -> Step:
        """POST /runtime/invocation/{id}/error."""
        refusal = self._refuse_result(request_id)
        if refusal:
            return refusal
        self.state = RuntimeState.RESPONDED
        return Step(ACCEPTED, Meaning.ERROR, function_error_type(error_type))

    def init_error(self, error_type: str) -> Step:
        """POST /runtime/init/error: only before the first `next`."""
        if self.state is not RuntimeState.STARTED:
            return self._refuse(RuntimeState.INIT_ERROR)
        self.state = RuntimeState.INIT_ERROR
        return Step(ACCEPTED, Meaning.INIT_ERROR, function_error_type(error_type))

    def _refuse_result(self, request_id: str) -> Step | None:
        if self.state is not RuntimeState.RUNNING:
            return self._refuse(RuntimeState.RESPONDED)
        if request_id != self._request_id:
            return Step(api_error(400, "InvalidRequestID", "Invalid request ID"), Meaning.NOTHING)
        return None

    def _refuse(self, wanted: RuntimeState) -> Step:
        message = (
            f"State transition from {self.state.value} to {wanted.value} failed for runtime. "
            "Error: State transition is not allowed"
        )
        return Step(api_error(403, "InvalidStateTransition", message), Meaning.NOTHING)

"""The APIs of an environment on Managed Instances, where several workers ask for events.

Each worker of the runtime client parks a `next` of its own; an event goes to one of them, and its
result is known by its request id. An invoke that has timed out goes on in its worker, whose result
then comes too late.
Source: aws-lambda-runtime-interface-emulator, `internal/lambda-managed-instances`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from lambdatrace.harness.environment_api import (
    ERROR_CAUSE,
    ERROR_TYPE,
    INVOCATION,
    NEXT,
    EnvironmentApi,
    Listener,
    send,
    unknown,
)
from lambdatrace.harness.extensions_api import ExtensionsApi
from lambdatrace.harness.runtime_api import (
    ACCEPTED,
    RESPONSE_BYTES_MAX,
    Event,
    api_error,
    event_answer,
    function_error_type,
    kept_error_cause,
)

if TYPE_CHECKING:
    from lambdatrace.harness.http_server import Exchange
    from lambdatrace.harness.runtime_api import Answer

TIMED_OUT_MAX = 1000  # request ids kept, to tell what comes too late from what was never there

_INVALID_REQUEST_ID = api_error(400, "InvalidRequestID", "Invalid request ID")
_TOO_LATE = api_error(410, "InvokeTimeout", "Invoke timeout")


class ManagedListener(Listener, Protocol):
    """What an environment is told about the calls of its workers."""

    def worker_waits(self) -> None:
        """A worker has asked for its next event."""

    def responded(self, request_id: str, payload: bytes, content_type: str) -> None:
        """A worker posted the response to an event."""

    def failed(self, request_id: str, payload: bytes, error_type: str, cause: str) -> None:
        """A worker posted an error of the function."""

    def responded_too_much(self, request_id: str, response_bytes: int, error_type: str) -> None:
        """A worker posted a response over the limit."""


class ManagedApi(EnvironmentApi):
    """The API of one generation of workers, `workers` in number."""

    def __init__(self, listener: ManagedListener, function: dict[str, str], workers: int) -> None:
        super().__init__(listener, function)
        self.extensions = ExtensionsApi(function, is_managed=True)
        self._managed_listener = listener
        self._workers = workers
        self._parked: list[Exchange] = []
        self._running: set[str] = set()
        self._timed_out: OrderedDict[str, None] = OrderedDict()
        self._has_failed = False
        self.returning = 0  # workers that have answered and not asked again
        self.is_initialized = False

    @property
    def free_workers(self) -> int:
        """How many events can be given now."""
        return len(self._parked)

    @property
    def is_everyone_waiting(self) -> bool:
        """The condition for the end of an init."""
        return len(self._parked) >= self._workers and self.extensions.are_idle

    def deliver(self, event: Event) -> None:
        """Gives an event to the worker that has waited for longest; there must be one."""
        exchange = self._parked.pop(0)
        exchange.on_lost = None
        self._running.add(event.request_id)
        send(exchange, event_answer(event))

    def time_out(self, request_id: str) -> None:
        """The invoke is over for its caller; its worker does not know."""
        self._running.discard(request_id)
        self._timed_out[request_id] = None
        if len(self._timed_out) > TIMED_OUT_MAX:
            self._timed_out.popitem(last=False)

    def _serve_runtime(self, exchange: Exchange, path: str) -> None:
        request = exchange.request
        if path == NEXT and request.method == "GET":
            self._next(exchange)
        elif request.method != "POST":
            send(exchange, unknown(request))
        elif path == "/2018-06-01/runtime/init/error":
            self._init_error(exchange)
        elif path.startswith(INVOCATION) and path.endswith("/response"):
            self._response(exchange, path[len(INVOCATION) : -len("/response")])
        elif path.startswith(INVOCATION) and path.endswith("/error"):
            self._error(exchange, path[len(INVOCATION) : -len("/error")])
        else:
            send(exchange, unknown(request))

    def _next(self, exchange: Exchange) -> None:
        self._parked.append(exchange)
        exchange.on_lost = lambda: self._parked.remove(exchange)
        self.extensions.is_registration_open = False
        self.returning = max(0, self.returning - 1)
        if self.is_initialized:
            self._managed_listener.worker_waits()
        elif len(self._parked) >= self._workers:
            self._listener.runtime_waits()
            if self.is_everyone_waiting:
                self._listener.everyone_waits()

    def _init_error(self, exchange: Exchange) -> None:
        """Every worker loads the function, and each would tell that it cannot: once is enough."""
        if self._has_failed or self.is_initialized:
            message = "State transition is not allowed: the init has ended"
            send(exchange, api_error(403, "InvalidStateTransition", message))
            return
        self._has_failed = True
        request = exchange.request
        send(exchange, ACCEPTED)
        error_type = function_error_type(request.header(ERROR_TYPE))
        self._listener.init_failed(request.body, error_type)

    def _response(self, exchange: Exchange, request_id: str) -> None:
        request = exchange.request
        mode = request.header(b"lambda-runtime-function-response-mode")
        if refusal := self._refusal(request_id):
            send(exchange, refusal)
        elif mode and mode != "streaming":
            message = f"Invalid response mode '{mode}': 'streaming' is the only value"
            send(exchange, api_error(400, "InvalidFunctionResponseMode", message))
        elif request.body_bytes > RESPONSE_BYTES_MAX:
            self._take_result(request_id)
            error_type = "Function.ResponseSizeTooLarge"
            self._managed_listener.responded_too_much(request_id, request.body_bytes, error_type)
            message = f"Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
            send(exchange, api_error(413, "RequestEntityTooLarge", message))
        else:
            self._take_result(request_id)
            content_type = request.header(b"content-type") or "application/json"
            self._managed_listener.responded(request_id, request.body, content_type)
            send(exchange, ACCEPTED)

    def _error(self, exchange: Exchange, request_id: str) -> None:
        request = exchange.request
        if refusal := self._refusal(request_id):
            send(exchange, refusal)
            return
        self._take_result(request_id)
        error_type = function_error_type(request.header(ERROR_TYPE))
        cause = kept_error_cause(request.header(ERROR_CAUSE))
        self._managed_listener.failed(request_id, request.body, error_type, cause)
        send(exchange, ACCEPTED)

    def _take_result(self, request_id: str) -> None:
        self._running.discard(request_id)
        self.returning += 1

    def _refusal(self, request_id: str) -> Answer | None:
        if request_id in self._running:
            return None
        if request_id in self._timed_out:
            del self._timed_out[request_id]
            return _TOO_LATE
        return _INVALID_REQUEST_ID

"""The HTTP side of one execution environment: its APIs, all on one port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lambdatrace.harness.extensions_api import (
    Extension,
    ExtensionMeaning,
    ExtensionsApi,
    ExtensionStep,
    invoke_event,
    shutdown_event,
)
from lambdatrace.harness.runtime_api import (
    RESPONSE_BYTES_MAX,
    Answer,
    Event,
    Meaning,
    RuntimeApi,
    Step,
    api_error,
    kept_error_cause,
)
from lambdatrace.harness.telemetry_api import LOGS, TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.harness.http_server import Exchange, Request

BODY_BYTES_MAX = RESPONSE_BYTES_MAX
_RUNTIME = "/2018-06-01/runtime/"
NEXT = "/2018-06-01/runtime/invocation/next"
_RESTORE_NEXT = "/2018-06-01/runtime/restore/next"
INVOCATION = "/2018-06-01/runtime/invocation/"
_EXTENSION = "/2020-01-01/extension/"
_SUBSCRIPTIONS = {"/2022-07-01/telemetry": TELEMETRY, "/2020-08-15/logs": LOGS}
_IDENTIFIER = b"lambda-extension-identifier"
ERROR_TYPE = b"lambda-runtime-function-error-type"
ERROR_CAUSE = b"lambda-runtime-function-xray-error-cause"
_EXTENSION_ERROR_TYPE = b"lambda-extension-function-error-type"


class Listener(Protocol):
    """What an environment is told about the calls of its processes."""

    def runtime_waits(self) -> None:
        """The runtime has asked for its next event."""

    def everyone_waits(self) -> None:
        """The runtime and every registered extension have asked for their next event."""

    def function_responded(self, payload: bytes, content_type: str) -> None:
        """The runtime posted the function's response."""

    def function_failed(self, payload: bytes, error_type: str, cause: str) -> None:
        """The runtime posted an error of the function; `cause` is X-Ray's JSON for it, or empty."""

    def response_too_large(self, response_bytes: int, error_type: str) -> None:
        """The runtime posted a response over the limit."""

    def init_failed(self, payload: bytes, error_type: str) -> None:
        """The runtime could not load the function."""

    def extension_registered(self) -> None:
        """An extension registered."""

    def extension_failed(self, extension: Extension, error_type: str) -> None:
        """An extension reported an error of its init or exit."""

    def extension_subscribed(self, extension: Extension, api: str, body: bytes) -> Answer:
        """An extension subscribes to the Telemetry or the Logs API; gives what it is answered."""


class EnvironmentApi:
    """The API of one generation of processes; what waits for an event is parked here."""

    def __init__(self, listener: Listener, function: dict[str, str]) -> None:
        self.runtime = RuntimeApi()
        self.extensions = ExtensionsApi(function)
        self._listener = listener
        self._event: Event | None = None
        self._runtime_exchange: Exchange | None = None
        self._extension_exchanges: dict[str, Exchange] = {}
        self._undelivered: dict[str, Answer] = {}
        self.result_began_s = 0.0  # loop time at which the last response or error began to arrive

    @property
    def is_everyone_waiting(self) -> bool:
        """The condition for the end of an init or an invoke."""
        return self.runtime.is_waiting and self.extensions.are_idle

    def deliver(self, event: Event) -> None:
        """Gives an invoke to the runtime; `tell_extensions` is the other half."""
        self._event = event
        answer = self.runtime.deliver(event)
        if self._runtime_exchange:
            send(self._runtime_exchange, answer)

    def restore(self) -> None:
        """Tells the runtime that it has been restored."""
        answer = self.runtime.restore()
        if self._runtime_exchange:
            send(self._runtime_exchange, answer)

    def tell_extensions(self, event: Event) -> None:
        """Gives an invoke to the extensions that want to know of it."""
        for extension in self.extensions.listeners("INVOKE"):
            self._tell(
                extension,
                invoke_event(
                    request_id=event.request_id,
                    deadline_ms=event.deadline_ms,
                    invoked_function_arn=event.invoked_function_arn,
                    trace_header=event.trace_header,
                ),
            )

    def shut_down(self, extensions: Iterable[Extension], reason: str, deadline_ms: int) -> None:
        """Sends the SHUTDOWN event to these extensions."""
        for extension in extensions:
            self._tell(extension, shutdown_event(reason, deadline_ms))

    def serve(self, exchange: Exchange) -> None:
        """Takes one request of the environment's processes."""
        path = exchange.request.path
        if path.startswith(_RUNTIME):
            self._serve_runtime(exchange, path)
        elif path.startswith(_EXTENSION):
            self._serve_extension(exchange, path)
        elif path.rstrip("/") in _SUBSCRIPTIONS and exchange.request.method == "PUT":
            self._serve_subscription(exchange, _SUBSCRIPTIONS[path.rstrip("/")])
        else:
            send(exchange, unknown(exchange.request))

    def _serve_runtime(self, exchange: Exchange, path: str) -> None:
        request = exchange.request
        if path == NEXT and request.method == "GET":
            self._runtime_next(exchange, self.runtime.next())
            return
        if path == _RESTORE_NEXT and request.method == "GET":
            self._runtime_next(exchange, self.runtime.restore_next())
            return
        if request.method != "POST":
            send(exchange, unknown(request))
            return
        error_type = request.header(ERROR_TYPE)
        if path == "/2018-06-01/runtime/init/error":
            step = self.runtime.init_error(error_type)
        elif path == "/2018-06-01/runtime/restore/error":
            step = self.runtime.restore_error(error_type)
        elif path.startswith(INVOCATION) and path.endswith("/response"):
            mode = request.header(b"lambda-runtime-function-response-mode")
            step = self.runtime.response(path[len(INVOCATION) : -9], request.body_bytes, mode)
        elif path.startswith(INVOCATION) and path.endswith("/error"):
            step = self.runtime.error(path[len(INVOCATION) : -6], error_type)
        else:
            step = Step(unknown(request), Meaning.NOTHING)
        self._tell_listener(step, request)  # the invoke's caller before the runtime
        if step.answer:
            send(exchange, step.answer)

    def _tell_listener(self, step: Step, request: Request) -> None:
        self.result_began_s = request.began_s
        if step.meaning is Meaning.RESPONSE:
            content_type = request.header(b"content-type") or "application/json"
            self._listener.function_responded(request.body, content_type)
        elif step.meaning is Meaning.ERROR:
            cause = kept_error_cause(request.header(ERROR_CAUSE))
            self._listener.function_failed(request.body, step.error_type, cause)
        elif step.meaning is Meaning.TOO_LARGE:
            self._listener.response_too_large(request.body_bytes, step.error_type)
        elif step.meaning is Meaning.INIT_ERROR:
            self._listener.init_failed(request.body, step.error_type)

    def _runtime_next(self, exchange: Exchange, step: Step) -> None:
        if step.answer:
            send(exchange, step.answer)
            return
        self._runtime_exchange = exchange
        if step.meaning is Meaning.REPEAT and self._event:
            send(exchange, self.runtime.deliver(self._event))
            return
        self.extensions.is_registration_open = False
        self._listener.runtime_waits()
        if self.is_everyone_waiting:
            self._listener.everyone_waits()

    def _serve_extension(self, exchange: Exchange, path: str) -> None:
        request = exchange.request
        identifier = request.header(_IDENTIFIER)
        call = (request.method, path.removeprefix(_EXTENSION))
        if call == ("GET", "event/next"):
            self._extension_next(exchange, identifier)
            return
        if call == ("POST", "register"):
            name = request.header(b"lambda-extension-name")
            feature = request.header(b"lambda-extension-accept-feature")
            step = self.extensions.register(name, request.body, feature)
        elif call == ("POST", "init/error"):
            step = self.extensions.init_error(identifier, request.header(_EXTENSION_ERROR_TYPE))
        elif call == ("POST", "exit/error"):
            step = self.extensions.exit_error(identifier, request.header(_EXTENSION_ERROR_TYPE))
        else:
            step = ExtensionStep(unknown(request), ExtensionMeaning.NOTHING)
        if step.answer:
            send(exchange, step.answer)
        if step.meaning is ExtensionMeaning.REGISTERED:
            self._listener.extension_registered()
        elif step.extension and step.meaning is ExtensionMeaning.INIT_ERROR:
            self._listener.extension_failed(step.extension, "Extension.InitError")
        elif step.extension and step.meaning is ExtensionMeaning.EXIT_ERROR:
            self._listener.extension_failed(step.extension, "Extension.ExitError")

    def _serve_subscription(self, exchange: Exchange, api: str) -> None:
        request = exchange.request
        extension, refusal = self.extensions.find(request.header(_IDENTIFIER))
        if extension:
            send(exchange, self._listener.extension_subscribed(extension, api, request.body))
        elif refusal.answer:
            send(exchange, refusal.answer)

    def _extension_next(self, exchange: Exchange, identifier: str) -> None:
        step = self.extensions.next(identifier)
        if step.answer:
            send(exchange, step.answer)
            return
        self._extension_exchanges[identifier] = exchange
        undelivered = self._undelivered.pop(identifier, None)
        if undelivered and step.extension:
            self._tell(step.extension, undelivered)
            return
        if self.is_everyone_waiting:
            self._listener.everyone_waits()

    def _tell(self, extension: Extension, answer: Answer) -> None:
        self.extensions.begin(extension)
        exchange = self._extension_exchanges.pop(extension.identifier, None)
        if exchange:
            send(exchange, answer)
        else:
            self._undelivered[extension.identifier] = answer  # it has not asked yet


def refuse(exchange: Exchange, status: int, reason: str) -> None:
    """Answers a request that is no proper HTTP, in the shape of these APIs."""
    send(exchange, api_error(status, "InvalidRequestFormat", reason))


def send(exchange: Exchange, answer: Answer) -> None:
    """Answers a request."""
    exchange.respond(answer.status, answer.body, answer.headers)


def unknown(request: Request) -> Answer:
    """The answer to a request for something that is not there."""
    message = (
        f"{request.method} {request.path} is not a call of the Runtime, Extensions or Telemetry API"
    )
    return api_error(404, "NotFound", message)

"""The Lambda API over HTTP: Invoke goes to the service, the other operations to `lambda_api`."""

from __future__ import annotations

import errno
import os
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from lambdatrace.harness import invoke_api
from lambdatrace.harness.errors import HarnessSettingsError, InvokeError, PortInUseError
from lambdatrace.harness.http_server import Exchange, Request, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.invocation import Invocation, Outcome
    from lambdatrace.harness.invoke_api import InvokeAnswer, InvokeRequest
    from lambdatrace.harness.lambda_api.api import LambdaApi

BODY_BYTES_MAX = invoke_api.SYNC_BYTES_MAX
REQUEST_BYTES_MAX = 70_167_211  # of the operations beside Invoke


class Invoker(Protocol):
    """Who executes what the endpoint is asked for."""

    def submit(
        self,
        request: InvokeRequest,
        answer: Callable[[Invocation, Outcome], None],
        refuse: Callable[[InvokeError], None],
    ) -> Invocation:
        """Starts an invoke, synchronous or queued. Raises InvokeError for one that cannot start."""


class Endpoint:
    """One address. `load_api` makes the operations beside Invoke with the first request for one."""

    def __init__(self, invoker: Invoker, region: str, load_api: Callable[[], LambdaApi]) -> None:
        self.url = ""
        self._invoker = invoker
        self._region = region
        self._load_api = load_api
        self._api: LambdaApi | None = None
        self._server: Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Takes requests. Raises PortInUseError, HarnessSettingsError."""
        try:
            server = await Server.listen(
                host, port, self._serve, refuse=_refuse_http, body_bytes_max=BODY_BYTES_MAX
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(
                    f"port {port} of {host} is in use: give another one, or 0 for any free port"
                ) from error
            # asyncio's text names the address a second time; a name that is not known has a
            # number of another kind.
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror or error
            raise HarnessSettingsError(f"cannot listen on {host}:{port}: {reason}") from error
        server.larger_body = _body_bytes_max
        self._server = server
        self.url = f"http://{server.host}:{server.port}"

    async def stop_listening(self) -> None:
        """No new client; those that wait for an invoke go on, the others get no answer."""
        if self._server:
            self._server.stop_listening()
        if self._api:
            await self._api.close()

    async def close(self) -> None:
        """Drops every client."""
        if self._server:
            await self._server.close()

    def _serve(self, exchange: Exchange) -> None:
        if not invoke_api.is_invoke(exchange.request):
            self._api = self._api or self._load_api()
            self._api.serve(exchange)
            return
        try:
            request = invoke_api.parse(exchange.request, self._region)
            answer = invoke_api.streamed if request.is_streamed else invoke_api.success
            invocation = self._invoker.submit(
                request,
                lambda invocation, outcome: _respond(exchange, answer(invocation, outcome)),
                lambda error: _refuse(exchange, error),
            )
        except InvokeError as error:
            _refuse(exchange, error)
            return
        if request.invocation_type == "Event":
            _respond(exchange, invoke_api.accepted(invocation))
        elif request.invocation_type == "DryRun":
            _respond(exchange, invoke_api.dry_run(invocation))


def _body_bytes_max(request: Request) -> int:
    """An invoke's payload has a limit of its own; the other operations may carry a zip file."""
    return BODY_BYTES_MAX if invoke_api.is_invoke(request) else REQUEST_BYTES_MAX


def _respond(exchange: Exchange, answer: InvokeAnswer) -> None:
    exchange.respond(answer.status, answer.body, answer.headers)


def _refuse(exchange: Exchange, error: InvokeError) -> None:
    _respond(exchange, invoke_api.refusal(error, str(uuid.uuid4())))


def _refuse_http(exchange: Exchange, status: int, reason: str) -> None:
    code = "InvalidRequestContentException"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        code = "RequestTooLargeException"
    _refuse(exchange, InvokeError(status, code, reason))

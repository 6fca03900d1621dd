"""The operations beside Invoke, over HTTP: which there are, and how one request is answered."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any

from lambdatrace.harness import invoke_api
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.lambda_api import (
    aliases,
    concurrency,
    event_invoke_configs,
    functions,
    policies,
    provisioned_concurrency,
    rest_json,
    service_model,
    tags,
    versions,
)
from lambdatrace.harness.lambda_api.deployments import Deployments
from lambdatrace.harness.lambda_api.resources import Resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.http_server import Exchange, Request
    from lambdatrace.harness.service import LambdaService
    from lambdatrace.harness.temp_dirs import TempDirs

    Operation = Callable[[Resources, dict[str, Any]], dict[str, Any]]

OPERATIONS: dict[str, Operation] = {
    **functions.OPERATIONS,
    **versions.OPERATIONS,
    **aliases.OPERATIONS,
    **concurrency.OPERATIONS,
    **provisioned_concurrency.OPERATIONS,
    **event_invoke_configs.OPERATIONS,
    **tags.OPERATIONS,
    **policies.OPERATIONS,
}
INLINE_BYTES_MAX = 1024 * 1024  # a larger body is read in a thread: meanwhile events are served

_log = logging.getLogger("lambdatrace.harness")


class LambdaApi:
    """Answers requests for operations; `close` before the service's pools are closed."""

    def __init__(self, service: LambdaService, temp_dirs: TempDirs) -> None:
        self._deployments = Deployments(service, temp_dirs)
        self._resources = Resources(service, self._deployments)
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, exchange: Exchange) -> None:
        """Answers one request, now or when its body has been read."""
        task = asyncio.get_running_loop().create_task(self._serve(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ends what is being deployed; requests not answered yet stay so."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._deployments.close()

    async def _serve(self, exchange: Exchange) -> None:
        request_id = str(uuid.uuid4())
        headers = f"x-amzn-RequestId: {request_id}\r\n"
        try:
            status, body = await self._answer(exchange.request)
        except InvokeError as error:
            status, body = error.status, rest_json.render_error(error)
            headers += f"x-amzn-ErrorType: {error.code}\r\n"
        except Exception:  # noqa: BLE001 - an operation's own fault is one request's answer
            _log.exception("%s %s failed", exchange.request.method, exchange.request.path)
            failure = InvokeError(500, "ServiceException", "Internal error of this local Lambda")
            status, body = failure.status, rest_json.render_error(failure)
            headers += f"x-amzn-ErrorType: {failure.code}\r\n"
        exchange.respond(status, body, headers.encode())

    async def _answer(self, request: Request) -> tuple[int, bytes]:
        match = service_model.match(request.method, request.path, request.query)
        if match is None:
            raise invoke_api.unknown_operation(request)
        operation = OPERATIONS.get(match.operation.name)
        if operation is None:
            raise InvokeError(
                404,
                "UnknownOperationException",
                f"{match.operation.name} is no operation of this local Lambda",
            )
        if request.body_bytes > INLINE_BYTES_MAX:
            parameters = await asyncio.to_thread(rest_json.parse, request, match)
        else:
            parameters = rest_json.parse(request, match)
        return rest_json.render(match.operation, operation(self._resources, parameters))

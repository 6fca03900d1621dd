"""The whole HTTP surface of the collector: every route, and which error shape it answers with."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.endpoint import AwsEndpoint
from lambdatrace_collector.aws.services import load_services
from lambdatrace_collector.errors import (
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    RequestError,
    ServiceError,
)
from lambdatrace_collector.exchange import (
    Request,
    Response,
    json_response,
    read_body,
    request_head,
    send_response,
)
from lambdatrace_collector.ingest.admission import Admission
from lambdatrace_collector.ingest.group_commit import GroupCommit
from lambdatrace_collector.ingest.record_ids import RecordIds
from lambdatrace_collector.logs.operations import operations as log_operations
from lambdatrace_collector.metrics.operations import operations as metric_operations
from lambdatrace_collector.otlp.http_export import http_export
from lambdatrace_collector.otlp.ingestion import protobuf_insert
from lambdatrace_collector.otlp.signals import TRACES
from lambdatrace_collector.otlp.status import error_response as otlp_error
from lambdatrace_collector.otlp.traces import traces_ingest
from lambdatrace_collector.store.readiness import Readiness
from lambdatrace_collector.traces.api import TracesApi, api_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lambdatrace_collector.aws.call import Operation
    from lambdatrace_collector.exchange import Receive, Send
    from lambdatrace_collector.otlp.ingestion import Ingest
    from lambdatrace_collector.otlp.signals import Signal
    from lambdatrace_collector.store.engine import Store

    Handler = Callable[[Request], Awaitable[Response]]
    ErrorShape = Callable[[Request, RequestError | ServiceError], Response]

logger = logging.getLogger(__name__)

OTLP_PATHS = "/v1/"  # OTLP/HTTP's clients read a google.rpc.Status, also where there is no route


@dataclass(frozen=True)
class Route:
    """A method and path, `{name}` standing for one part of it, and who answers."""

    method: str
    path: str
    handler: Handler
    error_shape: ErrorShape

    def match(self, path: str) -> dict[str, str] | None:
        """The path's parameters when it is this route's; else None."""
        own, given = self.path.split("/"), path.split("/")
        if len(own) != len(given):
            return None
        parameters: dict[str, str] = {}
        for part, value in zip(own, given, strict=True):
            if part.startswith("{") and value:
                parameters[part[1:-1]] = value
            elif part != value:
                return None
        return parameters


class Application:
    """The ASGI application over an opened store; await `drain` before the store closes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readiness = Readiness(store)
        self.admission = Admission()
        self._groups = {
            "traces": GroupCommit(protobuf_insert(store, "otlp_traces", "TracesData")),
            "logs": GroupCommit(_lines_insert(store, "log_input")),
            "metrics": GroupCommit(_lines_insert(store, "metric_input")),
        }
        self.ingests: Mapping[Signal, Ingest] = {
            TRACES: traces_ingest(self._groups["traces"].commit),
        }
        self.routes = self._routes()

    def _routes(self) -> tuple[Route, ...]:
        traces = TracesApi(self._store)
        aws = AwsEndpoint(load_services(), self._aws_operations())
        otlp = (
            Route("POST", signal.path, http_export(signal, ingest), otlp_error)
            for signal, ingest in self.ingests.items()
        )
        return (
            *otlp,
            Route("GET", "/api/v3/traces/{trace_id}", traces.get_trace, _api_error),
            Route("GET", "/api/v3/traces", traces.find_traces, _api_error),
            Route("GET", "/api/v3/services", traces.services, _api_error),
            Route("GET", "/api/v3/operations", traces.operations, _api_error),
            Route("POST", "/", aws.handle, aws.error_response),
            Route("GET", "/healthz", self._healthz, _api_error),
            Route("GET", "/readyz", self._readyz, _api_error),
        )

    def _aws_operations(self) -> Mapping[tuple[str, str], Operation]:
        record_ids = RecordIds()
        return {
            **log_operations(self._store, record_ids, self._groups["logs"].commit),
            **metric_operations(self._store, record_ids, self._groups["metrics"].commit),
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            return
        await send_response(send, await self._answer(request_head(scope), receive))

    async def drain(self) -> None:
        """Refuse new data and write what waits."""
        for group in self._groups.values():
            await group.drain()

    async def _answer(self, head: Request, receive: Receive) -> Response:
        error_shape: ErrorShape = otlp_error if head.path.startswith(OTLP_PATHS) else _api_error
        try:
            route, parameters = find_route(self.routes, head)
            error_shape = route.error_shape
            with self.admission.lease() as lease:
                body = await read_body(head.headers, receive, lease)
                return await route.handler(replace(head, body=body, path_parameters=parameters))
        except MethodNotAllowedError as error:
            response = error_shape(head, error)
            allowed = ", ".join(error.allowed)
            return replace(response, headers={**response.headers, "Allow": allowed})
        except (RequestError, ServiceError) as error:
            return error_shape(head, error)
        except Exception:
            # The border to bugs of ours: the client gets its protocol's error, the log the trace.
            logger.exception("%s %s failed", head.method, head.path)
            return error_shape(head, InternalError("internal error of the collector"))

    async def _healthz(self, _request: Request) -> Response:
        """Alive: the process answers."""
        return json_response({"status": "ok"})

    async def _readyz(self, _request: Request) -> Response:
        """Ready: the store takes what is written."""
        await self._readiness.require()
        return json_response({"status": "ok", "store": self._store.url.shown})


def find_route(routes: Sequence[Route], head: Request) -> tuple[Route, dict[str, str]]:
    """The route of a request and its path's parameters.

    Raises NotFoundError or MethodNotAllowedError.
    """
    allowed: list[str] = []
    for route in routes:
        parameters = route.match(head.path)
        if parameters is not None and route.method == head.method:
            return route, parameters
        if parameters is not None:
            allowed.append(route.method)
    if allowed:
        raise MethodNotAllowedError(
            f"{head.method} {head.path}: expected {' or '.join(allowed)}", tuple(allowed)
        )
    raise NotFoundError(f"there is nothing at {head.path}")


def _lines_insert(store: Store, table: str) -> Callable[[bytes], Awaitable[None]]:
    """How a group of JSON lines is written into `table`."""

    async def insert(body: bytes) -> None:
        await store.insert(table, body, "JSONEachRow")

    return insert


def _api_error(_request: Request, error: RequestError | ServiceError) -> Response:
    return api_error(error)

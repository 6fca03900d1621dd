"""The whole HTTP surface of the collector: every route, and which error shape it answers with."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.endpoint import AwsEndpoint
from lambdatrace_collector.aws.services import load_services
from lambdatrace_collector.errors import (
    InternalError,
    MethodNotAllowedError,
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
from lambdatrace_collector.ingest.admission import RESERVED_BYTES, Admission
from lambdatrace_collector.ingest.group_commit import GroupCommit, GroupMeters
from lambdatrace_collector.ingest.record_ids import RecordIds
from lambdatrace_collector.logs.ingestion import logs_insert
from lambdatrace_collector.logs.operations import LogService
from lambdatrace_collector.measurements import Measurements, error_type
from lambdatrace_collector.metrics.ingestion import metrics_insert
from lambdatrace_collector.metrics.operations import operations as metric_operations
from lambdatrace_collector.metrics.retention import keep_rolling_up
from lambdatrace_collector.otlp.http_export import http_export
from lambdatrace_collector.otlp.ingests import OtlpGroups
from lambdatrace_collector.otlp.reading import OtlpReading
from lambdatrace_collector.otlp.status import error_response as otlp_error
from lambdatrace_collector.routing import Route, Routes
from lambdatrace_collector.store.readiness import Readiness
from lambdatrace_collector.streaming import Streams
from lambdatrace_collector.traces.api import TracesApi, api_error
from lambdatrace_collector.traces.log_events import TraceLogEvents
from lambdatrace_collector.xray.operations import operations as xray_operations
from lambdatrace_collector.xray.receiver import DatagramReceiver
from lambdatrace_collector.xray.segment_store import SegmentStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import FromBody, Operation
    from lambdatrace_collector.exchange import Receive, Send
    from lambdatrace_collector.routing import ErrorShape
    from lambdatrace_collector.settings import Settings
    from lambdatrace_collector.store.engine import Store
    from lambdatrace_collector.streaming import StreamingResponse

logger = logging.getLogger(__name__)

OTLP_PATHS = "/v1/"  # OTLP/HTTP's clients read a google.rpc.Status, also where there is no route


class Application:
    """The ASGI application over an opened store; await `drain` before the store closes."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._readiness = Readiness(store)
        self._streams = Streams()
        self.admission = Admission(reserved_bytes=RESERVED_BYTES)
        inserts = {
            "logs": logs_insert(store),
            "metrics": metrics_insert(store),
        }
        meters = GroupMeters()
        self._groups = {
            signal: GroupCommit(insert, signal=signal, meters=meters)
            for signal, insert in inserts.items()
        }
        now_ms = time.time_ns() // 1_000_000
        self._retention = asyncio.create_task(keep_rolling_up(store, now_ms), name="retention")
        self._otlp_groups = OtlpGroups(store, meters)
        groups = {**self._groups, **self._otlp_groups.by_signal}
        self._measurements = Measurements(store, self.admission, groups, meters)
        record_ids = RecordIds()
        self._logs = LogService(
            store, record_ids, self._groups["logs"].commit, settings.aws_endpoint
        )
        segments = SegmentStore(store)
        operations = {**self._aws_operations(record_ids), **xray_operations(segments)}
        self.ingests = self._otlp_groups.ingests(operations, self._logs.arrivals)
        by_name = {signal.name: ingest for signal, ingest in self.ingests.items()}
        self.datagrams = DatagramReceiver(segments, by_name)
        self._aws = AwsEndpoint(load_services(), operations)
        self._routes = Routes(self._all_routes())

    def _all_routes(self) -> tuple[Route, ...]:
        traces, otlp_reading = TracesApi(self._store), OtlpReading(self._store)
        trace_logs = TraceLogEvents(self._store)
        resets = self._settings.allow_reset
        otlp = (
            Route("POST", signal.path, http_export(signal, ingest), otlp_error)
            for signal, ingest in self.ingests.items()
        )
        aws = self._aws
        return (
            *otlp,
            Route("GET", "/api/v3/traces/{trace_id}", traces.get_trace, _api_error),
            Route("GET", "/api/v3/traces/{trace_id}/logs", trace_logs.get_trace_logs, _api_error),
            Route("GET", "/api/v3/traces", traces.find_traces, _api_error),
            Route("GET", "/api/v3/services", traces.services, _api_error),
            Route("GET", "/api/v3/operations", traces.operations, _api_error),
            Route("GET", "/_lambdatrace/logs", otlp_reading.logs, _api_error),
            Route("GET", "/_lambdatrace/metrics", otlp_reading.metrics, _api_error),
            Route("GET", "/metrics", self._measurements.read, _api_error),
            Route("GET", "/_lambdatrace/datagrams", self._datagram_counts, _api_error),
            Route("GET", "/healthz", self._healthz, _api_error),
            Route("GET", "/readyz", self._readyz, _api_error),
            *([Route("POST", "/_lambdatrace/reset", self._reset, _api_error)] if resets else []),
            *(Route(method, path, aws.handle, aws.error_response) for method, path in aws.paths),
        )

    def _aws_operations(
        self, record_ids: RecordIds
    ) -> Mapping[tuple[str, str], Operation | FromBody]:
        return {
            **self._logs.operations,
            **metric_operations(self._store, record_ids, self._groups["metrics"].commit),
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            return
        request, began = request_head(scope), time.perf_counter()
        meters = self._measurements.requests
        meters.active += 1
        try:
            answer, route = await self._answer(request, receive)
        finally:
            meters.active -= 1
        seconds = time.perf_counter() - began
        meters.answered(request, route, answer.status, answer.error_type, seconds)
        if isinstance(answer, Response):
            await send_response(send, answer)
        else:
            await self._streams.send(answer, receive, send)

    def end_streams(self) -> None:
        """End the answers that have no end of their own."""
        self._streams.end()

    async def drain(self) -> None:
        """Refuse new data and write what waits."""
        self._retention.cancel()
        await self.datagrams.drain()
        await self._otlp_groups.drain()
        for group in self._groups.values():
            await group.drain()
        await self._logs.close()

    async def _answer(
        self, head: Request, receive: Receive
    ) -> tuple[Response | StreamingResponse, str]:
        """The answer, and the path of the route that gave it; empty when there is none."""
        path = ""
        error_shape = self._error_shape(head)
        try:
            route, parameters = self._routes.find(head)
            path, error_shape = route.path, route.error_shape
            with self.admission.lease() as lease:
                body = await read_body(head.headers, receive, lease)
                request = replace(head, body=body, path_parameters=parameters)
                return self._streams.admitted(await route.handler(request)), path
        except MethodNotAllowedError as error:
            response = error_shape(head, error)
            allowed = ", ".join(error.allowed)
            return replace(response, headers={**response.headers, "Allow": allowed}), path
        except (RequestError, ServiceError) as error:
            return replace(error_shape(head, error), error_type=error_type(error)), path
        except Exception:
            # The border to bugs of ours: the client gets its protocol's error, the log the trace.
            logger.exception("%s %s failed", head.method, head.path)
            ours = InternalError("internal error of the collector")
            return replace(error_shape(head, ours), error_type=error_type(ours)), path

    def _error_shape(self, head: Request) -> ErrorShape:
        """How a request is answered that has no route."""
        if head.path.startswith(OTLP_PATHS):
            return otlp_error
        return _api_error if self._aws.protocol_of(head) is None else self._aws.error_response

    async def _reset(self, _request: Request) -> Response:
        """Everything that was acknowledged before is gone."""
        await self._store.empty()
        return json_response({})

    async def _datagram_counts(self, _request: Request) -> Response:
        """How many datagrams were received, stored, rejected and dropped, and how many wait."""
        return json_response(self.datagrams.shown())

    async def _healthz(self, _request: Request) -> Response:
        """Alive: the process answers."""
        return json_response({"status": "ok"})

    async def _readyz(self, _request: Request) -> Response:
        """Ready: the store takes what is written."""
        await self._readiness.require()
        return json_response({"status": "ok", "store": self._store.url.shown})


def _api_error(_request: Request, error: RequestError | ServiceError) -> Response:
    return api_error(error)

"""OTLP/gRPC: the three services' Export, raw bytes into the same ingestion as OTLP/HTTP's.

Source: OTLP specification, "OTLP/gRPC".
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from lambdatrace_collector.aws.call import ACCOUNT, region_of_authorization
from lambdatrace_collector.errors import (
    RETRIED_STATUSES,
    RETRY_AFTER_S,
    BadRequestError,
    InternalError,
    ListenError,
    OverloadedError,
    RequestError,
    RequestTimeoutError,
    ServiceError,
)
from lambdatrace_collector.exchange import BODY_DEADLINE_S
from lambdatrace_collector.otlp.signals import Origin, success
from lambdatrace_collector.otlp.status import RESOURCE_EXHAUSTED, rpc_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.ingest.admission import Admission, Lease
    from lambdatrace_collector.otlp.ingestion import Ingest
    from lambdatrace_collector.otlp.signals import Signal

logger = logging.getLogger(__name__)

# As the OpenTelemetry Collector's own default: gRPC takes a message in whole before we see it.
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
# Calls whose message is still on its way, which no admission counts yet: 256 MB if all were full.
ARRIVING_MAX = 64
# gRPC's own field for a google.rpc.Status with details. Source: gRPC, "Richer error model".
STATUS_DETAILS = "grpc-status-details-bin"
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", ARRIVING_MAX),
    ("grpc.so_reuseport", 0),  # a second collector on the port must fail, not share it
)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class OtlpGrpc:
    """The listener of OTLP/gRPC. `start` it in the event loop that serves, then `stop` it."""

    def __init__(self, ingests: Mapping[Signal, Ingest], admission: Admission) -> None:
        self._admission = admission
        self._arriving = 0
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    signal.service,
                    # As a stream: the call begins, and can be refused, before its message.
                    {"Export": grpc.stream_unary_rpc_method_handler(self._export(signal, ingest))},
                )
                for signal, ingest in ingests.items()
            ]
        )

    async def start(self, host: str, port: int) -> str:
        """Listen; gives the address that was taken. Raises ListenError."""
        shown = f"[{host}]" if ":" in host else host
        try:
            taken = self._server.add_insecure_port(f"{shown}:{port}")
        except RuntimeError as error:
            raise ListenError(
                f"--grpc {host}:{port} cannot be listened on: choose another port, 0 for a free"
                " one, or --no-grpc"
            ) from error
        await self._server.start()
        return f"{shown}:{taken}"

    async def stop(self, finish_s: float) -> None:
        """Take no more calls, and give those that run `finish_s` seconds to end."""
        await self._server.stop(finish_s)

    def _export(self, signal: Signal, ingest: Ingest) -> Any:
        async def export(messages: Any, context: Any) -> bytes:
            try:
                with self._admission.lease() as lease:
                    body = await self._message(messages, lease)
                    rejected = await ingest(body, _origin(context))
            except (RequestError, ServiceError) as error:
                await _abort(context, error)
            except asyncio.CancelledError:
                raise  # the client has gone
            except Exception:
                # The border to bugs of ours: the client gets gRPC's error, the log the trace.
                logger.exception("Export of %s failed", signal.name)
                await _abort(context, InternalError("internal error of the collector"))
            answer: bytes = success(signal, rejected).SerializeToString()
            return answer

        return export

    async def _message(self, messages: Any, lease: Lease) -> bytes:
        """The call's one message, its bytes taken from `lease`."""
        if self._arriving >= ARRIVING_MAX:
            raise OverloadedError(f"{self._arriving} messages are arriving: send this again later")
        self._arriving += 1
        try:
            body: bytes = await asyncio.wait_for(anext(messages), BODY_DEADLINE_S)
        except StopAsyncIteration as error:
            raise BadRequestError("the call has no message: Export takes one") from error
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise RequestTimeoutError(
                f"the message did not arrive within {BODY_DEADLINE_S} s"
            ) from error
        finally:
            self._arriving -= 1
        lease.grow(len(body))
        return body


def status_of(error: RequestError | ServiceError) -> Any:
    """The google.rpc.Status of `error`: with RetryInfo when the same request may be sent again.

    Source: OTLP specification, "Failures" and "OTLP/gRPC Throttling".
    """
    # Too much at once is throttling, and its name in gRPC says so.
    code = RESOURCE_EXHAUSTED if isinstance(error, OverloadedError) else rpc_code(error)
    status = Status(code=code, message=str(error))
    if error.status in RETRIED_STATUSES:
        retry = RetryInfo()
        retry.retry_delay.FromSeconds(RETRY_AFTER_S)
        status.details.add().Pack(retry)
    return status


async def _abort(context: Any, error: RequestError | ServiceError) -> None:
    status = status_of(error)
    details = ((STATUS_DETAILS, status.SerializeToString()),)
    await context.abort(_CODES[status.code], status.message, details)


def _origin(context: Any) -> Origin:
    headers = {
        key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
    }
    region = region_of_authorization(headers.get("authorization", ""))
    return Origin(ACCOUNT, region, headers, time.time_ns() // 1_000_000)

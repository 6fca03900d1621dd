"""OTLP/HTTP traces: `POST /v1/traces`.

The body is checked here and decoded by the engine. Checking is protobuf's C parser over the
whole message (0.7 to 1 million spans/s, measured); nothing is done per span in Python unless a
body is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from lambdatrace_collector.errors import (
    BadRequestError,
    BodyTooLargeError,
    StoreRejectedError,
    UnsupportedMediaError,
)
from lambdatrace_collector.exchange import Request, Response
from lambdatrace_collector.otlp.span_count import holds_more_messages
from lambdatrace_collector.otlp.status import PROTOBUF
from lambdatrace_collector.store import sql_files
from lambdatrace_collector.store.failures import PROTOBUF_BAD_CAST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lambdatrace_collector.store.engine import Store

    Handler = Callable[[Request], Awaitable[Response]]
    Commit = Callable[[bytes], Awaitable[None]]

# Of one request; AWS's own endpoint takes 10,000. As many spans of 200 bytes fill a whole body, so
# only what holds next to nothing is refused; 100,000 are parsed in 0.1 s.
SPANS_MAX = 100_000

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8


def traces_insert(store: Store) -> Commit:
    """How a group of export requests, concatenated, is written."""
    settings = {
        "format_schema_source": "string",
        "format_schema": sql_files.format_schema("otlp_traces"),
        "format_schema_message_name": "TracesData",
    }

    async def insert(body: bytes) -> None:
        await store.insert("otlp_traces", body, "ProtobufSingle", settings)

    return insert


def traces_export(commit: Commit) -> Handler:
    """The handler of `POST /v1/traces`, which answers when `commit` has stored the spans."""

    async def export(request: Request) -> Response:
        _check_content_type(request)
        if not parse_traces(request.body).resource_spans:
            return _success(0)
        # What was parsed is not kept while the body waits: it takes several times the body.
        try:
            await commit(request.body)
        except StoreRejectedError as refusal:
            return _success(await _commit_valid_spans(request.body, refusal, commit))
        return _success(0)

    return export


def parse_traces(body: bytes) -> ExportTraceServiceRequest:
    """The request in `body`.

    Raises BadRequestError when it is not one, BodyTooLargeError when it has over SPANS_MAX spans,
    entries of resource_spans and of scope_spans counted with them.
    """
    if holds_more_messages(body, SPANS_MAX):
        raise BodyTooLargeError(
            f"the request holds over {SPANS_MAX} spans: send them in smaller requests"
        )
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise BadRequestError(
            f"the body of {len(body)} bytes is not a protobuf ExportTraceServiceRequest: {error}"
        ) from error


def remove_invalid_spans(message: ExportTraceServiceRequest) -> int:
    """Take the spans without a valid trace id and span id out of `message`; gives their number.

    Valid is 16 and 8 bytes, not all zero. Source: trace.proto, Span.trace_id and Span.span_id.
    """
    removed = 0
    for resource_spans in message.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            valid = [
                span
                for span in scope_spans.spans
                if _is_id(span.trace_id, TRACE_ID_BYTES) and _is_id(span.span_id, SPAN_ID_BYTES)
            ]
            invalid = len(scope_spans.spans) - len(valid)
            if invalid:
                kept = [type(span).FromString(span.SerializeToString()) for span in valid]
                del scope_spans.spans[:]
                scope_spans.spans.extend(kept)
            removed += invalid
    return removed


async def _commit_valid_spans(body: bytes, refusal: StoreRejectedError, commit: Commit) -> int:
    if refusal.code == PROTOBUF_BAD_CAST:
        # protobuf's own parser keeps the low bits of such a number, which nobody has sent.
        raise _not_otlp(refusal)
    message = parse_traces(body)
    rejected = remove_invalid_spans(message)
    # Written anew by protobuf: the engine then reads one plain encoding, whatever the sender's was.
    try:
        await commit(message.SerializeToString())
    except StoreRejectedError as error:
        raise _not_otlp(error) from error
    return rejected


def _not_otlp(error: StoreRejectedError) -> BadRequestError:
    return BadRequestError(
        f"the body is protobuf, but a field of it is not what OTLP says it is: {error}"
    )


def _is_id(value: bytes, length: int) -> bool:
    return len(value) == length and any(value)


def _check_content_type(request: Request) -> None:
    if request.content_type == "application/json":
        raise UnsupportedMediaError(
            "OTLP/JSON is not read here: send protobuf (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf)"
        )
    if request.content_type != PROTOBUF:
        raise UnsupportedMediaError(
            f"Content-Type is {request.content_type!r}: expected {PROTOBUF}"
        )


def _success(rejected: int) -> Response:
    answer = ExportTraceServiceResponse()
    if rejected:
        answer.partial_success.CopyFrom(
            ExportTracePartialSuccess(
                rejected_spans=rejected,
                error_message="spans whose trace_id is not 16 bytes or span_id not 8 bytes,"
                " or which are all zero, were not stored",
            )
        )
    return Response(200, answer.SerializeToString(), PROTOBUF)

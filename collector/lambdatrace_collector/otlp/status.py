"""How OTLP/HTTP says what went wrong: a google.rpc.Status in the body.

Source: OTLP specification, "Failures"; 429, 502, 503 and 504 may be retried, the others may not.
"""

from __future__ import annotations

from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from lambdatrace_collector.errors import RETRY_AFTER_S, RequestError, ServiceError
from lambdatrace_collector.exchange import Response

PROTOBUF = "application/x-protobuf"

_INVALID_ARGUMENT = 3
_NOT_FOUND = 5
_RESOURCE_EXHAUSTED = 8
_UNIMPLEMENTED = 12
_UNAVAILABLE = 14
_RPC_CODES = {
    404: _NOT_FOUND,
    405: _UNIMPLEMENTED,
    413: _RESOURCE_EXHAUSTED,
    415: _UNIMPLEMENTED,
    503: _UNAVAILABLE,
}


def error_response(error: RequestError | ServiceError) -> Response:
    """The OTLP/HTTP response for `error`, with Retry-After when the client should retry."""
    status = Status(code=_RPC_CODES.get(error.status, _INVALID_ARGUMENT), message=str(error))
    headers = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, ServiceError) else {}
    return Response(error.status, status.SerializeToString(), PROTOBUF, headers)

"""How OTLP says what went wrong: a google.rpc.Status, in the request's encoding.

Source: OTLP specification, "Failures"; 429, 502, 503 and 504 may be retried, the others may not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from lambdatrace_collector.exchange import Request, Response, json_response, retry_headers

if TYPE_CHECKING:
    from lambdatrace_collector.errors import RequestError, ServiceError

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

RESOURCE_EXHAUSTED = 8
_INVALID_ARGUMENT = 3
_DEADLINE_EXCEEDED = 4
_NOT_FOUND = 5
_UNIMPLEMENTED = 12
_INTERNAL = 13
_UNAVAILABLE = 14
_RPC_CODES = {
    404: _NOT_FOUND,
    405: _UNIMPLEMENTED,
    408: _DEADLINE_EXCEEDED,
    413: RESOURCE_EXHAUSTED,
    415: _UNIMPLEMENTED,
    429: RESOURCE_EXHAUSTED,
    500: _INTERNAL,
    503: _UNAVAILABLE,
}


def rpc_code(error: RequestError | ServiceError) -> int:
    """The google.rpc.Code of an error."""
    return _RPC_CODES.get(error.status, _INVALID_ARGUMENT)


def error_response(request: Request, error: RequestError | ServiceError) -> Response:
    """The OTLP/HTTP response for `error`: JSON to a JSON request, else protobuf."""
    code, message = rpc_code(error), str(error)
    if request.content_type == JSON:
        response = json_response({"code": code, "message": message}, error.status)
    else:
        body = Status(code=code, message=message).SerializeToString()
        response = Response(error.status, body, PROTOBUF)
    return replace(response, headers=retry_headers(error))

"""AWS JSON 1.0 and 1.1 (`X-Amz-Target: PREFIX.Operation`) and REST JSON (a path per operation).

Source: Smithy, "AWS JSON 1.0 protocol", "AWS JSON 1.1 protocol" and "AWS restJson1 protocol"; the
query-compatible errors of "awsQueryCompatible trait".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.shape_decoding import ShapeDecoder, serialization_error
from lambdatrace_collector.aws.shape_encoding import ShapeEncoder, json_blob, json_double
from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.exchange import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lambdatrace_collector.aws.error_answer import ErrorAnswer
    from lambdatrace_collector.aws.services import AwsService
    from lambdatrace_collector.exchange import Request


class JsonProtocol:
    """AWS JSON, of one service. `prefixes` are the targets of all services, for errors."""

    def __init__(self, service: AwsService, prefixes: Iterable[str]) -> None:
        self.service = service
        self.document_type = "application/json"
        self.body_type = "application/json"
        self._prefixes = tuple(prefixes)
        self._content_type = f"application/x-amz-json-{service.json_version}"
        self._decoder = ShapeDecoder({})
        self._encoder = ShapeEncoder(_SCALARS)

    def read_operation(self, request: Request) -> tuple[str, bytes]:
        """See WireProtocol."""
        target = request.headers.get("x-amz-target", "")
        prefix, _, operation = target.partition(".")
        if prefix != self.service.target_prefix:
            raise AwsError(
                "UnknownOperationException",
                f"X-Amz-Target is {target!r}: the collector answers {' and '.join(self._prefixes)}",
                status=404,
            )
        return operation, request.body

    def read_parameters(self, source: bytes, input_shape: Any | None) -> dict[str, Any]:
        """See WireProtocol. An empty body is that of an operation without parameters."""
        value = parse_json(source) if source.strip() else {}
        parameters: dict[str, Any] = (
            {} if input_shape is None else self._decoder.decode(input_shape, value)
        )
        return parameters

    def write_result(self, model: Any, result: Mapping[str, Any], _request_id: str) -> Response:
        """See WireProtocol."""
        shape = model.output_shape
        body = b"{}" if shape is None else self.write_document(shape, result)
        return Response(200, body, self._content_type)

    def write_error(self, request: Request, error: ErrorAnswer, _request_id: str) -> Response:
        """See WireProtocol."""
        body = {"__type": self.service.error_type(error.code), **self._members(error)}
        headers = query_error_headers(self.service, request, error)
        return Response(error.status, _dump(body), self._content_type, headers)

    def write_document(self, shape: Any, value: Mapping[str, Any]) -> bytes:
        """See WireProtocol."""
        return _dump(self._encoder.encode(shape, value))

    def _members(self, error: ErrorAnswer) -> Mapping[str, Any]:
        return error_members(self._encoder, error)


class RestJsonProtocol(JsonProtocol):
    """REST JSON, of a service whose operations all have a path without parameters, as X-Ray's."""

    def __init__(self, service: AwsService) -> None:
        super().__init__(service, ())
        self._content_type = "application/json"
        self.operations = {
            (model.http["method"], model.http["requestUri"]): model.name
            for model in map(service.model.operation_model, service.model.operation_names)
        }

    def read_operation(self, request: Request) -> tuple[str, bytes]:
        """See WireProtocol."""
        name = self.operations.get((request.method, request.path))
        if name is None:
            raise AwsError(
                "UnknownOperationException",
                f"{request.method} {request.path} is not an operation of {self.service.name}",
                status=404,
            )
        return name, request.body

    def write_error(self, _request: Request, error: ErrorAnswer, _request_id: str) -> Response:
        """See WireProtocol."""
        body = _dump(self._members(error))
        return Response(error.status, body, self._content_type, {"x-amzn-ErrorType": error.code})


def parse_json(body: bytes) -> Any:
    """The value of a body in JSON. Raises AwsError SerializationException."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise serialization_error(f"the body is not valid JSON: {error}") from error


def query_error_headers(
    service: AwsService, request: Request, error: ErrorAnswer
) -> Mapping[str, str]:
    """The query protocol's code, for clients that were written when the service spoke only that."""
    if service.is_query_compatible and request.headers.get("x-amzn-query-mode") == "true":
        return {"x-amzn-query-error": f"{error.query_code};{error.fault}"}
    return {}


def error_members(encoder: ShapeEncoder, error: ErrorAnswer) -> Mapping[str, Any]:
    """The members of an error, encoded; those that the model leaves out, as the message, as is."""
    known = {} if error.shape is None else error.shape.members
    return {
        name: encoder.encode(known[name], value) if name in known else value
        for name, value in error.members.items()
    }


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "float": json_double,
    "double": json_double,
    "blob": json_blob,
}

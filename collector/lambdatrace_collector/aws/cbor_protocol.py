"""Smithy RPC v2 CBOR: `POST /service/NAME/operation/NAME`, CBOR in and out.

The AWS SDKs for Go, Rust and JavaScript and Terraform speak it to CloudWatch.
Source: Smithy, "Smithy RPC v2 CBOR protocol".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cbor2

from lambdatrace_collector.aws.json_protocol import error_members, query_error_headers
from lambdatrace_collector.aws.shape_decoding import (
    Mismatch,
    ShapeDecoder,
    decode_double,
    decode_seconds,
    serialization_error,
)
from lambdatrace_collector.aws.shape_encoding import ShapeEncoder
from lambdatrace_collector.errors import AwsError, UnsupportedMediaError
from lambdatrace_collector.exchange import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambdatrace_collector.aws.error_answer import ErrorAnswer
    from lambdatrace_collector.aws.services import AwsService
    from lambdatrace_collector.exchange import Request

PROTOCOL_HEADER = "smithy-protocol"
PROTOCOL = "rpc-v2-cbor"
CONTENT_TYPE = "application/cbor"
DEPTH_MAX = 64  # the deepest input of CloudWatch has nine levels
EPOCH_TAG = 1  # seconds since 1970

_PATH_PARTS = 5  # "", service, NAME, operation, NAME


class _Seconds(NamedTuple):
    """What stands behind a tag of time."""

    value: Any


class _Tags(dict[int, "Callable[[Any, bool], Any]"]):
    """The tags that are read: times alone. cbor2 would compile others to regular expressions,
    decimals or values that hold themselves.
    """

    def __missing__(self, tag: int) -> Callable[[Any, bool], Any]:
        raise ValueError(f"tag {tag} is not one of AWS's")


_TAGS = _Tags({EPOCH_TAG: lambda value, _immutable: _Seconds(value)})


class CborProtocol:
    """RPC v2 CBOR, of one service."""

    def __init__(self, service: AwsService) -> None:
        self.service = service
        self.document_type = CONTENT_TYPE
        self.body_type = CONTENT_TYPE
        self._decoder = ShapeDecoder(_DECODERS)
        self._encoder = ShapeEncoder(_ENCODERS)

    def read_operation(self, request: Request) -> tuple[str, bytes]:
        """See WireProtocol."""
        service, operation = path_names(request.path)
        if service != self.service.target_prefix:
            raise AwsError(
                "UnknownOperationException",
                f"{request.path} is no operation over {PROTOCOL}: the collector answers"
                f" /service/{self.service.target_prefix}/operation/NAME",
                status=404,
            )
        protocol = request.headers.get(PROTOCOL_HEADER)
        if protocol != PROTOCOL:
            raise UnsupportedMediaError(f"{PROTOCOL_HEADER} is {protocol!r}: expected {PROTOCOL}")
        if request.body and request.content_type != CONTENT_TYPE:
            raise UnsupportedMediaError(
                f"Content-Type is {request.content_type!r}: expected {CONTENT_TYPE}"
            )
        return operation, request.body

    def read_parameters(self, source: bytes, input_shape: Any | None) -> dict[str, Any]:
        """See WireProtocol. An empty body is that of an operation without parameters."""
        value = parse_cbor(source) if source else {}
        parameters: dict[str, Any] = (
            {} if input_shape is None else self._decoder.decode(input_shape, value)
        )
        return parameters

    def write_result(self, model: Any, result: Mapping[str, Any], _request_id: str) -> Response:
        """See WireProtocol. An operation without output is answered without a body."""
        headers = {PROTOCOL_HEADER: PROTOCOL}
        if model.output_shape is None:
            return Response(200, b"", "", headers)
        body = self.write_document(model.output_shape, result)
        return Response(200, body, CONTENT_TYPE, headers)

    def write_error(self, request: Request, error: ErrorAnswer, _request_id: str) -> Response:
        """See WireProtocol."""
        members = error_members(self._encoder, error)
        body = cbor2.dumps({"__type": self.service.error_type(error.code), **members})
        headers = {
            PROTOCOL_HEADER: PROTOCOL,
            **query_error_headers(self.service, request, error),
        }
        return Response(error.status, body, CONTENT_TYPE, headers)

    def write_document(self, shape: Any, value: Mapping[str, Any]) -> bytes:
        """See WireProtocol."""
        return cbor2.dumps(self._encoder.encode(shape, value))


def path_names(path: str) -> tuple[str, str]:
    """Service and operation of `/service/NAME/operation/NAME`; empty where it is not that."""
    parts = path.split("/")
    if len(parts) == _PATH_PARTS and parts[:2] == ["", "service"] and parts[3] == "operation":
        return parts[2], parts[4]
    return "", ""


def parse_cbor(body: bytes) -> Any:
    """The value of a body in CBOR. Raises AwsError SerializationException."""
    try:
        return cbor2.loads(
            body,
            semantic_decoders=_TAGS,
            max_depth=DEPTH_MAX,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORError, ValueError) as error:
        reason = error.__cause__ or error
        raise serialization_error(f"the body is not valid CBOR: {reason}") from error


def _decode_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise Mismatch(value, "a byte string")
    return value


def _decode_number(value: Any) -> float:
    if isinstance(value, str):
        raise Mismatch(value, "a number")
    return decode_double(value)


def _decode_tagged_time(value: Any) -> float:
    if not isinstance(value, _Seconds):
        raise Mismatch(value, f"a time: tag {EPOCH_TAG} and seconds since 1970")
    return decode_seconds(value.value)


def _encode_time(value: float) -> cbor2.CBORTag:
    # AWS answers times as floating-point numbers, also whole seconds.
    return cbor2.CBORTag(EPOCH_TAG, float(value))


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "blob": _decode_bytes,
    "float": _decode_number,
    "double": _decode_number,
    "timestamp": _decode_tagged_time,
}
_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "double": float,
    "timestamp": _encode_time,
}

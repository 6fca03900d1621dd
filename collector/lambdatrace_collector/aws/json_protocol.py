"""AWS JSON 1.0 and 1.1: `X-Amz-Target: PREFIX.Operation`, JSON in and out.

Source: Smithy, "AWS JSON 1.0 protocol" and "AWS JSON 1.1 protocol"; the query-compatible errors of
"awsQueryCompatible trait".
"""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.unicode import is_unicode
from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.exchange import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambdatrace_collector.aws.services import AwsService

TIME_MAX_S = 253_402_300_799  # the end of the year 9999

_ERROR_NAMESPACES = {
    "cloudwatch": "com.amazonaws.cloudwatch.v2010_08_01#",
    "logs": "",
}
_CONSTRAINT_ERROR = "com.amazon.coral.validate#ValidationException"
# A function may log half of a surrogate pair: its batch is stored, with that half replaced.
_REPAIRED_SHAPE = "EventMessage"
_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_parameters(request: Request, input_shape: Any | None) -> dict[str, Any]:
    """The parameters in the request's body, by the types of `input_shape`.

    Raises AwsError SerializationException when the body is not JSON of those types.
    """
    if not request.body.strip():
        return {}
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise _serialization_error(f"the body is not valid JSON: {error}") from error
    if input_shape is None:
        return {}
    decoded: dict[str, Any] = _decode(input_shape, value, "")
    return decoded


def write_result(
    service: AwsService, output_shape: Any | None, result: Mapping[str, Any]
) -> Response:
    """The response that carries `result`."""
    body = _encode(output_shape, result) if output_shape is not None else {}
    return _response(service, 200, body, {})


def write_error(service: AwsService, request: Request, error: AwsError) -> Response:
    """The response that carries `error`."""
    code = error.code
    if code == "ValidationException" and service.name == "cloudwatch":
        kind = _CONSTRAINT_ERROR
    else:
        kind = _ERROR_NAMESPACES[service.name] + code
    body = {"__type": kind}
    if str(error):
        body["message"] = str(error)
    headers = {}
    if service.is_query_compatible and request.headers.get("x-amzn-query-mode") == "true":
        headers["x-amzn-query-error"] = f"{error.query_code};{error.fault}"
    return _response(service, error.status, body, headers)


def _response(
    service: AwsService, status: int, body: Mapping[str, Any], headers: Mapping[str, str]
) -> Response:
    content = json.dumps(body, separators=(",", ":")).encode()
    return Response(status, content, f"application/x-amz-json-{service.json_version}", headers)


def _decode(shape: Any, value: Any, path: str) -> Any:
    return _DECODERS[shape.type_name](shape, value, path)


def _decode_structure(shape: Any, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _type_error(value, path, "a structure")
    members = shape.members
    # Unknown members are ignored and null counts as absent: clients may be newer than the model.
    return {
        name: _decode(members[name], item, f"{path}.{name}" if path else name)
        for name, item in value.items()
        if item is not None and name in members
    }


def _decode_list(shape: Any, value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _type_error(value, path, "a list")
    member = shape.member
    decode = _DECODERS[member.type_name]
    return [decode(member, item, path) for item in value]


def _decode_map(shape: Any, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _type_error(value, path, "a map")
    return {
        _decode(shape.key, key, path): _decode(shape.value, item, f"{path}.{key}")
        for key, item in value.items()
    }


def _decode_string(shape: Any, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _type_error(value, path, "a string")
    if not is_unicode(value) and shape.name != _REPAIRED_SHAPE:
        raise _type_error(value, path, "text without half of a surrogate pair")
    return value


def _decode_integer(_shape: Any, value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise _type_error(value, path, "an integer")
    if not -(2**63) <= value < 2**63:
        raise _type_error(value, path, "an integer of 64 bits")
    return int(value)


def _decode_double(_shape: Any, value: Any, path: str) -> float:
    if isinstance(value, str) and value in _NOT_NUMBERS:
        return _NOT_NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _type_error(value, path, "a number")
    try:
        return float(value)
    except OverflowError as error:
        raise _type_error(value, path, "a double") from error


def _decode_boolean(_shape: Any, value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _type_error(value, path, "a boolean")
    return value


def _decode_blob(shape: Any, value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(_decode_string(shape, value, path), validate=True)
    except ValueError as error:
        raise _type_error(value, path, "base64") from error


def _decode_timestamp(_shape: Any, value: Any, path: str) -> float:
    seconds = _decode_double(None, value, path)
    if not math.isfinite(seconds) or abs(seconds) > TIME_MAX_S:
        raise _type_error(value, path, "a time in seconds since 1970")
    return seconds


_DECODERS: dict[str, Callable[[Any, Any, str], Any]] = {
    "structure": _decode_structure,
    "list": _decode_list,
    "map": _decode_map,
    "string": _decode_string,
    "character": _decode_string,
    "integer": _decode_integer,
    "long": _decode_integer,
    "float": _decode_double,
    "double": _decode_double,
    "boolean": _decode_boolean,
    "blob": _decode_blob,
    "timestamp": _decode_timestamp,
}


def _encode(shape: Any, value: Any) -> Any:
    kind = shape.type_name
    if kind == "structure":
        members = shape.members
        return {
            name: _encode(members[name], item) for name, item in value.items() if item is not None
        }
    if kind == "list":
        return [_encode(shape.member, item) for item in value]
    if kind == "map":
        return {key: _encode(shape.value, item) for key, item in value.items()}
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind in ("float", "double") and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _type_error(value: Any, path: str, expected: str) -> AwsError:
    return _serialization_error(
        f"{path or 'the body'} is {str(value)[:100]!r}: expected {expected}"
    )


def _serialization_error(message: str) -> AwsError:
    return AwsError("SerializationException", message)

"""AWS's rest-json protocol for every operation of Lambda: request to parameters, result to answer.

What is a header, a label of the path, a query parameter or a member of the JSON body, and of which
type, is read from botocore's service model, so that no operation has a codec of its own.
Source: Smithy specification, "AWS restJson1 protocol"; botocore's `parsers.py` and `serialize.py`.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.lambda_api import service_model, validation

if TYPE_CHECKING:
    from lambdatrace.harness.http_server import Request
    from lambdatrace.harness.lambda_api.service_model import Match, Operation

# How a type of the model is called where a value has another one.
_TYPE_NAMES = {
    "string": "String",
    "integer": "Integer",
    "long": "Long",
    "double": "Double",
    "float": "Float",
    "boolean": "Boolean",
    "timestamp": "Timestamp",
    "blob": "ByteBuffer",
}


def parse(request: Request, match: Match) -> dict[str, Any]:
    """The operation's parameters, checked. Raises InvokeError as AWS would answer."""
    shape = match.operation.model.input_shape
    if shape is None:
        return {}
    document = _document(request.body)
    parameters: dict[str, Any] = {}
    for name, member in shape.members.items():
        location = member.serialization.get("location")
        key = member.serialization.get("name", name)
        value: Any = None
        if location == "uri":
            value = _from_text(member, match.labels[key])
        elif location == "querystring":
            texts = match.query.get(key)
            if texts is not None:
                is_list = member.type_name == "list"
                value = list(texts) if is_list else _from_text(member, texts[0])
        elif location == "header":
            text = request.header(key.lower().encode())
            value = _from_text(member, text) if text else None
        else:
            value = _from_json(member, document.get(key))
        if value is not None:
            parameters[name] = value
    validation.check(shape, parameters)
    return parameters


def render(operation: Operation, result: dict[str, Any]) -> tuple[int, bytes]:
    """Status and body of an operation's answer. Lambda's own answers have no modelled headers."""
    status = operation.model.http.get("responseCode", 200)
    shape = operation.model.output_shape
    for name, member in shape.members.items() if shape else ():
        if member.serialization.get("location") == "statusCode":
            status = result.pop(name, status)
    if shape is None or status == HTTPStatus.NO_CONTENT:
        return status, b""
    return status, json.dumps(_to_json(shape, result), separators=(",", ":")).encode()


def render_error(error: InvokeError) -> bytes:
    """The body of an error; whether its text is `message` or `Message` is the model's."""
    shape = service_model.error_shapes().get(error.code)
    key = "Message" if shape is not None and "Message" in shape.members else "message"
    is_ours = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    document = {"Type": "Service" if is_ours else "User", key: error.message}
    if error.reason:
        document["Reason"] = error.reason
    return json.dumps(document, separators=(",", ":")).encode()


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvokeError(
            400,
            "InvalidRequestContentException",
            f"Could not parse request body into json: {error}",
        ) from error
    if not isinstance(document, dict):
        raise _wrong_type(document, "Object")
    if b"\\ud" in body.lower():
        _check_surrogates(document)
    return document


def _check_surrogates(document: dict[str, Any]) -> None:
    """Refuses half of a pair, which an escape can say and no UTF-8 text can have."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvokeError(
            400,
            "SerializationException",
            f"Lone surrogate \\u{ord(error.object[error.start]):x} in a string",
        ) from error


def _from_text(shape: Any, text: str) -> Any:
    if shape.type_name == "boolean" and text in ("true", "false"):
        return text == "true"
    if shape.type_name in ("integer", "long"):
        try:
            return int(text)
        except ValueError:
            raise _wrong_type(text, _TYPE_NAMES[shape.type_name]) from None
    return text


def _from_json(shape: Any, value: Any) -> Any:
    """A value of the body in Python's types. Raises SerializationException for another type."""
    if value is None:
        return None
    kind = shape.type_name
    if kind == "structure":
        _expect(value, dict, "Object")
        members = {name: _from_json(m, value.get(name)) for name, m in shape.members.items()}
        return {name: member for name, member in members.items() if member is not None}
    if kind == "list":
        _expect(value, list, "Array")
        return [_from_json(shape.member, item) for item in value]
    if kind == "map":
        _expect(value, dict, "Object")
        return {key: _from_json(shape.value, item) for key, item in value.items()}
    return _scalar(kind, value)


def _scalar(kind: str, value: Any) -> Any:
    name = _TYPE_NAMES[kind]
    if kind == "boolean":
        _expect(value, bool, name)
    elif kind in ("integer", "long"):
        _expect(value, int, name)
    elif kind in ("double", "float", "timestamp"):
        _expect(value, (int, float), name)
    else:
        _expect(value, str, name)
    if kind == "blob":
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise _wrong_type(value, name) from None
    return value


def _expect(value: Any, wanted: type | tuple[type, ...], name: str) -> None:
    is_odd_bool = isinstance(value, bool) and wanted is not bool
    if is_odd_bool or not isinstance(value, wanted):
        raise _wrong_type(value, name)


def _wrong_type(value: Any, wanted: str) -> InvokeError:
    if isinstance(value, bool):
        kind = "TRUE_VALUE" if value else "FALSE_VALUE"
    elif isinstance(value, (int, float)):
        kind = "NUMBER_VALUE"
    elif isinstance(value, str):
        kind = "STRING_VALUE"
    else:
        kind = "START_OBJECT" if isinstance(value, dict) else "START_ARRAY"
    article = "an" if wanted[0] in "AIO" else "a"
    return InvokeError(
        400, "SerializationException", f"{kind} can not be converted to {article} {wanted}"
    )


def _to_json(shape: Any, value: Any) -> Any:
    """A result as the model has it. What the model does not know raises KeyError: ours to mend."""
    if value is None:
        return None
    kind = shape.type_name
    if kind == "structure":
        return {
            shape.members[name].serialization.get("name", name): _to_json(
                shape.members[name], member
            )
            for name, member in value.items()
            if member is not None
        }
    if kind == "list":
        return [_to_json(shape.member, item) for item in value]
    if kind == "map":
        return {key: _to_json(shape.value, item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).timestamp()
    return value

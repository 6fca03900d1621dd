"""The AWS query protocol: a form in, XML out. Older boto3, AWS CLI v1 and shell scripts speak it.

Source: Smithy, "AWS query protocol".
"""

from __future__ import annotations

import base64
import math
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from lambdatrace_collector.errors import AwsError, BadRequestError
from lambdatrace_collector.exchange import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.services import AwsService

FORM = "application/x-www-form-urlencoded"
FIELDS_MAX = 200_000  # 1000 datums with 30 dimensions each are 65,000 fields

_PLACE = re.compile(r"\d{1,9}")  # of a list's member
_XML = "text/xml"


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form. Raises BadRequestError when it is not one."""
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise BadRequestError(f"the body is not a form: {error}") from error
    return dict(pairs)


def read_parameters(form: Mapping[str, str], input_shape: Any | None) -> dict[str, Any]:
    """The parameters in a form, by the types of `input_shape`.

    `A.member.1.B=x` is the member B of the first item of the list A. Raises AwsError
    MalformedInput when a value is not of its type.
    """
    if input_shape is None:
        return {}
    tree = _tree(form)
    decoded: dict[str, Any] = _decode(input_shape, tree, "")
    return decoded


def write_result(
    service: AwsService, operation: Any, result: Mapping[str, Any], request_id: str
) -> Response:
    """The response that carries `result`."""
    shape = operation.output_shape
    inner = ""
    if shape is not None:
        content = _encode_members(shape, result)
        wrapper = shape.serialization.get("resultWrapper")
        inner = f"<{wrapper}>{content}</{wrapper}>" if wrapper else content
    name = f"{operation.name}Response"
    body = (
        f'<{name} xmlns="{service.xml_namespace}">{inner}'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}>"
    )
    return Response(200, body.encode(), _XML)


def write_error(request_id: str, error: AwsError) -> Response:
    """The response that carries `error`."""
    body = (
        f"<ErrorResponse><Error><Type>{error.fault}</Type><Code>{escape(error.query_code)}</Code>"
        f"<Message>{escape(str(error))}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return Response(error.status, body.encode(), _XML)


def _tree(form: Mapping[str, str]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, value in form.items():
        node = root
        *parents, last = name.split(".")
        for part in parents:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise _malformed(name, value, "one value per name")
            node = child
        if isinstance(node.get(last), dict):
            raise _malformed(name, value, "one value per name")
        node[last] = value
    return root


def _decode(shape: Any, value: Any, path: str) -> Any:
    kind = shape.type_name
    if kind in ("structure", "list", "map"):
        if value == "":  # an empty list or structure is sent as its bare name
            return [] if kind == "list" else {}
        if not isinstance(value, dict):
            raise _malformed(path, value, f"a {kind}")
        return _decode_container(shape, value, path)
    if not isinstance(value, str):
        raise _malformed(path, "…", f"a {kind}")
    try:
        return _decode_scalar(kind, value)
    except ValueError as error:
        raise _malformed(path, value, f"a {kind}") from error


def _decode_container(shape: Any, value: dict[str, Any], path: str) -> Any:
    prefix = f"{path}." if path else ""
    if shape.type_name == "structure":
        return {
            name: _decode(member, value[name], prefix + name)
            for name, member in shape.members.items()
            if name in value
        }
    if shape.type_name == "list":
        items = value.get("member", value)
        if not isinstance(items, dict) or not all(_PLACE.fullmatch(key) for key in items):
            raise _malformed(path, "…", "members numbered from 1")
        return [
            _decode(shape.member, items[key], f"{prefix}member.{key}")
            for key in sorted(items, key=int)
        ]
    entries = value.get("entry", value)
    return {
        entry["key"]: _decode(shape.value, entry["value"], prefix + "entry")
        for entry in entries.values()
        if isinstance(entry, dict) and {"key", "value"} <= entry.keys()
    }


def _decode_scalar(kind: str, text: str) -> Any:
    if kind in ("integer", "long"):
        return int(text)
    if kind in ("float", "double"):
        return float(text)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if kind == "blob":
        return base64.b64decode(text, validate=True)
    if kind == "timestamp":
        return _decode_time(text)
    return text


def _decode_time(text: str) -> float:
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def _encode_members(shape: Any, value: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_encode(member, value[name])}</{name}>"
        for name, member in shape.members.items()
        if value.get(name) is not None
    )


def _encode(shape: Any, value: Any) -> str:
    kind = shape.type_name
    if kind == "structure":
        return _encode_members(shape, value)
    if kind == "list":
        return "".join(f"<member>{_encode(shape.member, item)}</member>" for item in value)
    if kind == "map":
        return "".join(
            f"<entry><key>{escape(key)}</key><value>{_encode(shape.value, item)}</value></entry>"
            for key, item in value.items()
        )
    if kind == "timestamp":
        moment = datetime.fromtimestamp(value, timezone.utc)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind in ("float", "double"):
        return repr(float(value)) if math.isfinite(value) else _not_finite(value)
    return escape(str(value))


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _malformed(path: str, value: Any, expected: str) -> AwsError:
    return AwsError("MalformedInput", f"{path} is {str(value)[:100]!r}: expected {expected}")

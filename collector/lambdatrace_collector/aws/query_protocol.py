"""The AWS query protocol: a form in, XML out. Older boto3, AWS CLI v1 and shell scripts speak it.

Source: Smithy, "AWS query protocol".
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from lambdatrace_collector.aws.shape_decoding import (
    Mismatch,
    decode_integer,
    decode_long,
)
from lambdatrace_collector.errors import AwsError, BadRequestError
from lambdatrace_collector.exchange import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambdatrace_collector.aws.error_answer import ErrorAnswer
    from lambdatrace_collector.aws.services import AwsService
    from lambdatrace_collector.exchange import Request

FORM = "application/x-www-form-urlencoded"
FIELDS_MAX = 200_000  # 1000 datums with 30 dimensions each are 65,000 fields
NAME_PARTS_MAX = 32  # a member of a list takes two; the deepest input of CloudWatch has nine levels
DIGITS_MAX = 400  # a double has at most 309 before its point

_PLACE = re.compile(r"[0-9]{1,9}")  # of a list's member
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(
    rf"[+-]?([0-9]{{1,{DIGITS_MAX}}}(\.[0-9]{{0,{DIGITS_MAX}}})?|\.[0-9]{{1,{DIGITS_MAX}}})"
    r"([eE][+-]?[0-9]{1,4})?|NaN|[+-]?Infinity"
)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML = "text/xml"
_STATUSES = {"InvalidAction": 400}  # in the other protocols it has another name and is a 404


class QueryProtocol:
    """The query protocol, of one service."""

    def __init__(self, service: AwsService) -> None:
        self.service = service
        self.document_type = _XML
        self.body_type = FORM

    def read_operation(self, request: Request) -> tuple[str, dict[str, str]]:
        """See WireProtocol. The form is the body, or the URL's query."""
        form = read_form(request.body) if request.content_type == FORM else {}
        form = {name: values[-1] for name, values in request.query.items()} | form
        version = form.get("Version", "")
        if version != self.service.api_version:
            raise AwsError(
                "InvalidAction",
                f"Version is {version!r}: no service here speaks the query protocol",
            )
        return form.get("Action", ""), form

    def read_parameters(self, source: Mapping[str, str], input_shape: Any | None) -> dict[str, Any]:
        """See WireProtocol. `A.member.1.B=x` is the member B of the first item of the list A.

        Raises AwsError MalformedInput when a value is not of its type.
        """
        if input_shape is None:
            return {}
        try:
            decoded: dict[str, Any] = _decode(input_shape, _tree(source))
        except Mismatch as mismatch:
            raise AwsError("MalformedInput", mismatch.sentence()) from mismatch
        return decoded

    def write_result(self, model: Any, result: Mapping[str, Any], request_id: str) -> Response:
        """See WireProtocol."""
        shape = model.output_shape
        inner = ""
        if shape is not None:
            content = _encode_members(shape, result)
            wrapper = shape.serialization.get("resultWrapper", f"{model.name}Result")
            inner = f"<{wrapper}>{content}</{wrapper}>"
        name = f"{model.name}Response"
        body = (
            f'<{name} xmlns="{self.service.xml_namespace}">{inner}'
            f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}>"
        )
        return Response(200, body.encode(), _XML)

    def write_error(self, _request: Request, error: ErrorAnswer, request_id: str) -> Response:
        """See WireProtocol."""
        members = {"Message": error.message, **error.members}
        members.pop("message", None)
        known = {} if error.shape is None else error.shape.members
        content = "".join(
            f"<{name}>{_encode(known[name], value) if name in known else _text(value)}</{name}>"
            for name, value in members.items()
        )
        body = (
            f'<ErrorResponse xmlns="{self.service.xml_namespace}"><Error><Type>{error.fault}</Type>'
            f"<Code>{_text(error.query_code)}</Code>{content}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return Response(_STATUSES.get(error.query_code, error.status), body.encode(), _XML)

    def write_document(self, shape: Any, value: Mapping[str, Any]) -> bytes:
        """See WireProtocol."""
        return _encode_members(shape, value).encode()


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form. Raises BadRequestError when it is not one."""
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise BadRequestError(f"the body is not a form: {error}") from error
    return dict(pairs)


def _tree(form: Mapping[str, str]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, value in form.items():
        node = root
        *parents, last = name.split(".", NAME_PARTS_MAX)
        if len(parents) == NAME_PARTS_MAX:
            raise _mismatch(value, f"a name of at most {NAME_PARTS_MAX} parts", name)
        for part in parents:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise _mismatch(value, "one value per name", name)
            node = child
        if isinstance(node.get(last), dict):
            raise _mismatch(value, "one value per name", name)
        node[last] = value
    return root


def _mismatch(value: str, expected: str, name: str) -> Mismatch:
    mismatch = Mismatch(value, expected)
    mismatch.path.append(name[:100])
    return mismatch


def _decode(shape: Any, value: Any) -> Any:
    kind = shape.type_name
    if kind in ("structure", "list", "map"):
        if value == "":  # an empty list or structure is sent as its bare name
            return [] if kind == "list" else {}
        if not isinstance(value, dict):
            raise Mismatch(value, f"a {kind}")
        return _CONTAINERS[kind](shape, value)
    if not isinstance(value, str):
        raise Mismatch(value, f"a {kind}")
    decode = _SCALARS.get(kind)
    return value if decode is None else decode(value)


def _decode_structure(shape: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    decoded = {}
    for name, member in shape.members.items():
        if name in value:
            try:
                decoded[name] = _decode(member, value[name])
            except Mismatch as mismatch:
                mismatch.path.append(name)
                raise
    return decoded


def _decode_list(shape: Any, value: Mapping[str, Any]) -> list[Any]:
    items = value.get("member", value)
    if not isinstance(items, dict) or not all(_PLACE.fullmatch(key) for key in items):
        raise Mismatch(value, "members numbered from 1")
    decoded = []
    for key in sorted(items, key=int):
        try:
            decoded.append(_decode(shape.member, items[key]))
        except Mismatch as mismatch:
            mismatch.path += (key, "member")
            raise
    return decoded


def _decode_map(shape: Any, value: Mapping[str, Any]) -> dict[Any, Any]:
    entries = value.get("entry", value)
    if not isinstance(entries, dict):
        raise Mismatch(value, "entries numbered from 1")
    decoded = {}
    for entry in entries.values():
        if not isinstance(entry, dict) or not {"key", "value"} <= entry.keys():
            raise Mismatch(entry, "an entry with key and value")
        decoded[_decode(shape.key, entry["key"])] = _decode(shape.value, entry["value"])
    return decoded


def _decode_digits(decode: Callable[[Any], int]) -> Callable[[str], int]:
    def decode_digits(text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise Mismatch(text, "an integer")
        return decode(int(text))

    return decode_digits


def _decode_number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise Mismatch(text, "a double")
    return float(text)


def _decode_boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise Mismatch(text, "true or false")
    return text == "true"


def _decode_blob(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Mismatch(text, "base64") from error


def _decode_time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError as error:
        raise Mismatch(text, "a time such as 2026-01-31T23:59:59Z") from error
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
            f"<entry><key>{_text(key)}</key><value>{_encode(shape.value, item)}</value></entry>"
            for key, item in value.items()
        )
    if kind == "timestamp":
        return _encode_time(value)
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind in ("float", "double"):
        return repr(float(value)) if math.isfinite(value) else _not_finite(value)
    return _text(value)


def _encode_time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _text(value: Any) -> str:
    """Text for an element; characters that XML cannot hold are replaced."""
    return escape(_NOT_IN_XML.sub("\ufffd", str(value)))


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_CONTAINERS: dict[str, Callable[[Any, Any], Any]] = {
    "structure": _decode_structure,
    "list": _decode_list,
    "map": _decode_map,
}
_SCALARS: dict[str, Callable[[str], Any]] = {
    "integer": _decode_digits(decode_integer),
    "long": _decode_digits(decode_long),
    "float": _decode_number,
    "double": _decode_number,
    "boolean": _decode_boolean,
    "blob": _decode_blob,
    "timestamp": _decode_time,
}

"""Lambda's Invoke API, values in and values out: what a request asks for, and how it is answered.

Source: AWS Lambda API reference, "Invoke"; error names and members from botocore's service model.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qs, unquote

from lambdatrace.harness import event_stream
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import ACCOUNT_ID

if TYPE_CHECKING:
    from lambdatrace.harness.function import Function
    from lambdatrace.harness.http_server import Request
    from lambdatrace.harness.invocation import Invocation, Outcome

SYNC_BYTES_MAX = 6 * 1024 * 1024
EVENT_BYTES_MAX = 1024 * 1024
CLIENT_CONTEXT_BYTES_MAX = 3583
INVOCATION_TYPES = ("RequestResponse", "Event", "DryRun")
LOG_TYPES = ("None", "Tail")

STREAMED_TYPES = ("RequestResponse", "DryRun")
CHUNK_BYTES = 1024 * 1024  # of a streamed response: what the client has to hold at a time

_PATH = re.compile(r"/2015-03-31/functions/([^/]+)/invocations/?")
_STREAM_PATH = re.compile(r"/2021-11-15/functions/([^/]+)/response-streaming-invocations/?")
_ENDINGS = (
    *("/invocations", "/invocations/"),
    *("/response-streaming-invocations", "/response-streaming-invocations/"),
)
_REFERENCE = re.compile(
    r"(?:(?:arn:aws[a-zA-Z-]*:lambda:)?(?:(?P<region>[a-z]{2}(?:-[a-z]+)+-\d):)?(?:(?P<account>\d{12}):)?function:)?"
    r"(?:(?<![\w-])(?P<owner>\d{12}):)?"
    r"(?P<name>[a-zA-Z0-9-_]+)(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9-_]+))?"
)
_TENANT_ID = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")
_TRACE_HEADER = re.compile(r"[\x20-\x7e]{1,1024}")

# The member that carries the message differs between the errors of Lambda's model.
_CAPITAL_MESSAGE = frozenset({"ResourceNotFoundException", "ServiceException"})


@dataclass(frozen=True)
class InvokeRequest:
    """A checked request. `qualifier` is empty when none was named, `trace_header` without one."""

    function_name: str
    qualifier: str
    invocation_type: str
    wants_tail: bool
    client_context: str
    trace_header: str
    payload: bytes
    tenant_id: str = ""
    is_streamed: bool = False

    def arn(self, region: str) -> str:
        """The ARN as invoked, with the qualifier if one was named."""
        return function_arn(region, self.function_name, self.qualifier)


@dataclass(frozen=True)
class InvokeAnswer:
    """An HTTP answer: status, body and whole header lines."""

    status: int
    body: bytes
    headers: bytes


def parse(request: Request, region: str) -> InvokeRequest:
    """Reads a request to the Lambda API. Raises InvokeError as AWS would answer it."""
    match = _PATH.fullmatch(request.path)
    is_streamed = match is None
    match = match or _STREAM_PATH.fullmatch(request.path)
    if not match or request.method != "POST":
        raise unknown_operation(request)
    asked = parse_qs(request.query).get("Qualifier", [""])[0] if request.query else ""
    name, qualifier = reference(unquote(match[1]), asked, region)
    invocation_type = _choice(
        "InvocationType",
        request.header(b"x-amz-invocation-type"),
        STREAMED_TYPES if is_streamed else INVOCATION_TYPES,
    )
    log_type = _choice("LogType", request.header(b"x-amz-log-type"), LOG_TYPES)
    _check_size(request, EVENT_BYTES_MAX if invocation_type == "Event" else SYNC_BYTES_MAX)
    return InvokeRequest(
        name,
        qualifier,
        invocation_type,
        log_type == "Tail",
        _client_context(request.header(b"x-amz-client-context")),
        _trace_header(request.header(b"x-amzn-trace-id")),
        _payload(request.body),
        _tenant_id(request.header(b"x-amz-tenant-id")),
        is_streamed,
    )


def function_arn(region: str, name: str, qualifier: str = "") -> str:
    """The ARN of a function, with a qualifier if there is one."""
    arn = f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}"
    return f"{arn}:{qualifier}" if qualifier else arn


def success(invocation: Invocation, outcome: Outcome) -> InvokeAnswer:
    """The answer to RequestResponse: 200 whether or not the function failed."""
    headers = (
        f"x-amzn-RequestId: {invocation.request_id}\r\n"
        f"X-Amzn-Trace-Id: {invocation.trace_header}\r\n"
        f"X-Amz-Executed-Version: {invocation.executed_version}\r\n"
        f"Content-Type: {outcome.content_type}\r\n"
    )
    if outcome.function_error:
        headers += f"X-Amz-Function-Error: {outcome.function_error}\r\n"
    if outcome.log_tail is not None:
        headers += f"X-Amz-Log-Result: {base64.b64encode(outcome.log_tail).decode()}\r\n"
    return InvokeAnswer(200, outcome.payload, headers.encode())


def streamed(invocation: Invocation, outcome: Outcome) -> InvokeAnswer:
    """The answer to InvokeWithResponseStream, whole: Lambda's Python runtime streams no response.

    An error of the function is told by the last event, as is the log's tail.
    """
    headers = (
        f"x-amzn-RequestId: {invocation.request_id}\r\n"
        f"X-Amzn-Trace-Id: {invocation.trace_header}\r\n"
        f"X-Amz-Executed-Version: {invocation.executed_version}\r\n"
        f"Content-Type: {event_stream.CONTENT_TYPE}\r\n"
    )
    payload, last, events = outcome.payload, {}, []
    if outcome.function_error:
        last["ErrorCode"] = outcome.function_error
        last["ErrorDetails"] = payload.decode("utf-8", "replace")
    else:
        for start in range(0, len(payload), CHUNK_BYTES):
            chunk = payload[start : start + CHUNK_BYTES]
            events.append(event_stream.event("PayloadChunk", "application/octet-stream", chunk))
    if outcome.log_tail is not None:
        last["LogResult"] = base64.b64encode(outcome.log_tail).decode()
    complete = json.dumps(last).encode()
    events.append(event_stream.event("InvokeComplete", "application/json", complete))
    return InvokeAnswer(200, b"".join(events), headers.encode())


def accepted(invocation: Invocation) -> InvokeAnswer:
    """The answer to Event: the event is queued."""
    headers = (
        f"x-amzn-RequestId: {invocation.request_id}\r\n"
        f"X-Amzn-Trace-Id: {invocation.trace_header}\r\n"
    )
    return InvokeAnswer(202, b"", headers.encode())


def dry_run(invocation: Invocation) -> InvokeAnswer:
    """The answer to DryRun: everything is in order, nothing ran."""
    headers = (
        f"x-amzn-RequestId: {invocation.request_id}\r\n"
        f"X-Amz-Executed-Version: {invocation.executed_version}\r\n"
    )
    return InvokeAnswer(204, b"", headers.encode())


def is_invoke(request: Request) -> bool:
    """Whether a request is for Invoke, streamed or not; others are for the rest of the API."""
    return request.path.endswith(_ENDINGS)


def unknown_operation(request: Request) -> InvokeError:
    """The error for a request that is none of the API's, or of none that works here."""
    return InvokeError(
        404,
        "UnknownOperationException",
        f"{request.method} {request.path[:200]} is no operation of this local Lambda",
    )


def refusal(error: InvokeError, request_id: str) -> InvokeAnswer:
    """The answer to a request that was refused, in the shape of rest-json."""
    key = "Message" if error.code in _CAPITAL_MESSAGE else "message"
    document = {"Type": "User", key: error.message}
    if error.reason:
        document["Reason"] = error.reason
    headers = f"x-amzn-RequestId: {request_id}\r\nx-amzn-ErrorType: {error.code}\r\n"
    if error.reason:
        headers += "Retry-After: 1\r\n"
    return InvokeAnswer(error.status, json.dumps(document).encode(), headers.encode())


def reference(text: str, asked: str, region: str) -> tuple[str, str]:
    """The name and qualifier of a name, name:qualifier, partial ARN or ARN. Raises InvokeError.

    `asked` is the qualifier given beside it, if any.
    """
    match = _REFERENCE.fullmatch(text)
    if not match:
        raise InvokeError(
            400,
            "ValidationException",
            f"1 validation error detected: Value '{text[:140]}' at 'functionName' failed to "
            "satisfy constraint: expected a function name, name:qualifier, partial ARN or ARN",
        )
    if match["region"] and match["region"] != region:
        raise InvokeError(
            404,
            "ResourceNotFoundException",
            f"Functions from '{match['region']}' are not reachable in this region ('{region}')",
        )
    account = match["account"] or match["owner"]
    if account and account != ACCOUNT_ID:  # of another account is nothing here
        arn = f"arn:aws:lambda:{region}:{account}:function:{match['name']}"
        raise InvokeError(404, "ResourceNotFoundException", f"Function not found: {arn}")
    named = match["qualifier"] or ""
    if asked and named and asked != named:
        raise InvokeError(
            400,
            "InvalidParameterValueException",
            "The derived qualifier from the function name does not match the specified qualifier.",
        )
    return match["name"], asked or named


def _choice(name: str, value: str, values: tuple[str, ...]) -> str:
    if not value:
        return values[0]
    if value not in values:
        member = name[0].lower() + name[1:]
        raise InvokeError(
            400,
            "ValidationException",
            f"1 validation error detected: Value '{value[:140]}' at '{member}' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{', '.join(values)}]",
        )
    return value


def _check_size(request: Request, limit: int) -> None:
    if request.body_bytes > limit:
        raise InvokeError(
            413,
            "RequestTooLargeException",
            f"{request.body_bytes} byte payload is too large for the "
            f"{'Event' if limit == EVENT_BYTES_MAX else 'RequestResponse'} invocation type "
            f"(limit {limit} bytes)",
        )


def _client_context(header: str) -> str:
    """The client context as one line of JSON, empty when there is none."""
    if not header:
        return ""
    if len(header) > CLIENT_CONTEXT_BYTES_MAX:
        raise InvokeError(
            400,
            "InvalidRequestContentException",
            f"Client context is {len(header)} bytes: it must be no more than "
            f"{CLIENT_CONTEXT_BYTES_MAX} bytes of base64",
        )
    try:
        return json.dumps(json.loads(base64.b64decode(header, validate=True)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise InvokeError(
            400,
            "InvalidRequestContentException",
            f"Client context must be a valid Base64-encoded JSON object: {error}",
        ) from error


def _trace_header(header: str) -> str:
    """The caller's tracing header; one with control characters is not passed on."""
    return header if _TRACE_HEADER.fullmatch(header) else ""


def _tenant_id(header: str) -> str:
    """The tenant the invoke is for, empty when none is named."""
    if header and not _TENANT_ID.fullmatch(header):
        raise InvokeError(
            400,
            "ValidationException",
            f"1 validation error detected: Value '{header[:140]}' at 'tenantId' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: "
            f"{_TENANT_ID.pattern}",
        )
    return header


def check_tenant(function: Function, tenant_id: str) -> None:
    """Raises InvokeError unless the invoke names a tenant where the function has tenants."""
    if function.tenant_isolation_mode and not tenant_id:
        reason = (
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in "
            "your request and try again."
        )
    elif tenant_id and not function.tenant_isolation_mode:
        reason = (
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID "
            "from your request and try again."
        )
    else:
        return
    raise InvokeError(400, "InvalidParameterValueException", reason)


def _payload(body: bytes) -> bytes:
    """The event, `{}` for an empty body as on AWS."""
    if not body:
        return b"{}"
    try:
        json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvokeError(
            400,
            "InvalidRequestContentException",
            f"Could not parse request body into json: Could not parse payload into json: {error}",
        ) from error
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")

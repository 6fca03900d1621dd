"""botocore, and with it boto3: a span for each call of an AWS API, named `Service.Operation`.

The HTTP requests below it, retries among them, have no spans of their own: how often the request
was sent again is an attribute. The trace goes out in each request's `X-Amzn-Trace-Id`, and where
`aws_context` says in what the request carries. Both are added where botocore makes a request of the
parameters, after its events for them: `botocore.stub.Stubber` sees what the caller has given.
Source: OpenTelemetry semantic conventions, "AWS SDK".
"""

from __future__ import annotations

from functools import lru_cache

from lambdatrace.patches import recorder, wrap
from lambdatrace.patches.calls import Call, is_suppressed, outgoing, scope, within, x_ray_header
from lambdatrace.propagation import X_RAY
from lambdatrace.records import CLIENT, PRODUCER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from lambdatrace.telemetry import Telemetry

NAME = "botocore"
SCOPE = scope(NAME)

# What sends telemetry is not telemetry.
_NOT_RECORDED = {
    ("XRay", "PutTraceSegments"),
    ("XRay", "PutTelemetryRecords"),
    ("XRay", "GetSamplingRules"),
    ("XRay", "GetSamplingTargets"),
}


# The services of `aws_context`: for others it need not be loaded.
_WITH_PLACES = frozenset(("SQS", "SNS", "EventBridge", "Kinesis", "Lambda", "SFN"))


def attach(module: ModuleType) -> None:
    """Patch `botocore.client`."""
    client = module.BaseClient
    wrap(client, "_convert_to_request_dict", _make_request)
    wrap(client, "_make_api_call", _call_api)


class _Operation:
    """What the calls of an operation by clients for the same endpoint have alike.

    What reads and writes their parameters is loaded with the first. `context` is what adds the
    trace to those of operations that have a place for it, else None.
    """

    __slots__ = (
        "attributes",
        "context",
        "kind",
        "name",
        "read_request",
        "read_response",
        "region",
        "service",
        "title",
    )

    def __init__(self, service: str, name: str, region: str, endpoint_url: str) -> None:
        from urllib.parse import urlsplit

        from lambdatrace.patches import aws_attributes

        parts = urlsplit(endpoint_url)
        self.service = service
        self.name = name
        self.title = f"{service}.{name}"
        self.region = region
        self.kind = PRODUCER if aws_attributes.is_send(service, name) else CLIENT
        self.read_request = aws_attributes.read_request
        self.read_response = aws_attributes.read_response
        self.context: ModuleType | None = None
        if service in _WITH_PLACES:
            from lambdatrace.patches import aws_context

            self.context = aws_context if aws_context.has_place(service, name) else None
        self.attributes: dict[str, Any] = {
            "rpc.system": "aws-api",
            "rpc.service": service,
            "rpc.method": name,
            **({"cloud.region": region} if region else {}),
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }


_operation = lru_cache(maxsize=256)(_Operation)


class _AwsCall(Call):
    """A call of an AWS API; `client` is whose it is, until its request has been made."""

    __slots__ = ("client", "operation")

    def __init__(
        self, current: Telemetry, operation: _Operation, client: Any, attributes: dict[str, Any]
    ) -> None:
        super().__init__(current, operation.title, SCOPE, attributes, operation.kind)
        self.operation = operation
        self.client = client


def _call_api(
    wrapped: Callable[..., Any], client: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    current = recorder(NAME)
    if current is None:
        return wrapped(*arguments, **keywords)
    call = current.guard.run(_begin, current, client, *arguments, **keywords)
    if call is None:
        return wrapped(*arguments, **keywords)
    try:
        response = call.run(wrapped, arguments, keywords)
    except BaseException as error:
        current.guard.run(_fail, call, error)
        raise
    current.guard.run(_finish, call, response)
    return response


def _begin(
    current: Telemetry, client: Any, operation_name: str, api_params: Any
) -> _AwsCall | None:
    meta = client.meta
    service = str(meta.service_model.service_id)
    if (service, operation_name) in _NOT_RECORDED or is_suppressed():
        return None
    operation = _operation(service, operation_name, meta.region_name, meta.endpoint_url)
    attributes: dict[str, Any] = {}
    if current.tracer.is_recording():
        attributes.update(operation.attributes)
        current.guard.run(_describe_request, attributes, operation, api_params)
    return _AwsCall(current, operation, client, attributes)


def _describe_request(attributes: dict[str, Any], operation: _Operation, parameters: Any) -> None:
    attributes.update(
        operation.read_request(operation.service, operation.name, parameters, operation.region)
    )


def _make_request(
    wrapped: Callable[..., Any],
    client: Any,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    """The request, as a mapping, with the trace of the call it is made for."""
    call = within()
    model = arguments[1] if len(arguments) > 1 else keywords.get("operation_model")
    if (
        not isinstance(call, _AwsCall)
        or call.client is not client
        or getattr(model, "name", "") != call.operation.name
    ):
        return wrapped(*arguments, **keywords)  # of a URL that is signed, perhaps
    call.client = None
    if call.operation.context is not None:
        request = _make_with_context(wrapped, call, call.operation.context, arguments, keywords)
    else:
        request = wrapped(*arguments, **keywords)
    if call.span.context.is_sampled:
        call.guard.run(_put_header, call, request)
    return request


def _make_with_context(
    wrapped: Callable[..., Any],
    call: _AwsCall,
    context: Any,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    """The request with the trace context in what it carries, or as it was if that fails."""
    parameters: Any = arguments[0] if arguments else keywords.get("api_params")
    operation = call.operation
    if context.has_place_in_body(operation.service, operation.name, parameters):
        request = wrapped(*arguments, **keywords)
        if call.guard.run(_add_to_body, call, context, request, parameters):
            return request
    changed = call.guard.run(_with_context, call, context, parameters) or parameters
    if arguments:
        arguments = (changed, *arguments[1:])
    else:
        keywords["api_params"] = changed
    return wrapped(*arguments, **keywords)


def _add_to_body(
    call: _AwsCall, context: Any, request: dict[str, Any], parameters: dict[str, Any]
) -> bool:
    """Add the trace context to the body; False if the body is of another kind."""
    body = context.add_to_body(request.get("body"), parameters, _fields(call))
    if body is None:
        return False
    request["body"] = body
    return True


def _with_context(call: _AwsCall, context: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = context.add_context(
        call.operation.service,
        call.operation.name,
        parameters,
        _fields(call),
        x_ray_header(call.current, call.span),
        call.current.settings.payload_context,
    )
    return changed


def _fields(call: _AwsCall) -> dict[str, str]:
    fields = outgoing(call.current, call.span)
    fields.pop(X_RAY, None)  # AWS's services take it from the request's own header
    return fields


def _put_header(call: _AwsCall, request: dict[str, Any]) -> None:
    """Make the span the Parent; botocore puts Lambda's own header only where there is none.

    It leaves this header out of the signature.
    """
    request["headers"].setdefault(X_RAY, x_ray_header(call.current, call.span))


def _finish(call: _AwsCall, response: Any) -> None:
    span, operation = call.span, call.operation
    if span.is_recording and isinstance(response, dict):
        found = operation.read_response(operation.service, operation.name, response)
        _note_metadata(found, response)
        span.set_attributes(found)
    call.end()


def _fail(call: _AwsCall, error: BaseException) -> None:
    response = getattr(error, "response", None)  # of a ClientError: what the service answered
    code = ""
    if isinstance(response, dict):
        found: dict[str, Any] = {}
        _note_metadata(found, response)
        call.span.set_attributes(found)
        code = str((response.get("Error") or {}).get("Code") or "")
    call.fail(error, code)


def _note_metadata(attributes: dict[str, Any], response: dict[str, Any]) -> None:
    metadata = response.get("ResponseMetadata")
    if not isinstance(metadata, dict):
        return
    status = metadata.get("HTTPStatusCode")
    if isinstance(status, int):
        attributes["http.response.status_code"] = status
    request_id = metadata.get("RequestId")
    if request_id:
        attributes["aws.request_id"] = request_id
    extended_id = metadata.get("HostId") or (metadata.get("HTTPHeaders") or {}).get("x-amz-id-2")
    if extended_id:
        attributes["aws.extended_request_id"] = extended_id
    if metadata.get("RetryAttempts"):
        attributes["http.request.resend_count"] = metadata["RetryAttempts"]

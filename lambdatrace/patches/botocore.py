"""botocore, and with it boto3: a span for each call of an AWS API, named `Service.Operation`.

The HTTP requests below it, retries among them, have no spans of their own: how often the request
was sent again is an attribute. The trace goes out in each request's `X-Amzn-Trace-Id`, and where
`aws_context` says in what the request carries.
Source: OpenTelemetry semantic conventions, "AWS SDK".
"""

from __future__ import annotations

from functools import lru_cache

from lambdatrace.patches import aws_attributes, recorder, wrap
from lambdatrace.patches.aws_context import add_context, has_place
from lambdatrace.patches.calls import Call, is_suppressed, scope, x_ray_header
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


def attach(module: ModuleType) -> None:
    """Patch `botocore.client`."""
    from botocore.endpoint import Endpoint  # loaded by it

    wrap(Endpoint, "prepare_request", _prepare_request)
    wrap(module.BaseClient, "_make_api_call", _call_api)


class _AwsCall(Call):
    """A call of an AWS API."""

    __slots__ = ("operation", "parameters", "service")

    def __init__(
        self, current: Telemetry, service: str, operation: str, parameters: dict[str, Any]
    ) -> None:
        kind = PRODUCER if aws_attributes.is_send(service, operation) else CLIENT
        super().__init__(current, f"{service}.{operation}", SCOPE, kind=kind)
        self.service = service
        self.operation = operation
        self.parameters = parameters


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
        response = call.run(wrapped, (call.operation, call.parameters), {})
    except BaseException as error:
        current.guard.run(_fail, call, error)
        raise
    current.guard.run(_finish, call, response)
    return response


def _begin(
    current: Telemetry, client: Any, operation_name: str, api_params: Any
) -> _AwsCall | None:
    service = str(client.meta.service_model.service_id)
    if (service, operation_name) in _NOT_RECORDED or is_suppressed():
        return None
    call = _AwsCall(current, service, operation_name, api_params)
    span = call.span
    if span.context.is_sampled:
        region = client.meta.region_name
        span.attributes = {
            "rpc.system": "aws-api",
            "rpc.service": service,
            "rpc.method": operation_name,
            **({"cloud.region": region} if region else {}),
            **_server(client.meta.endpoint_url),
        }
        current.guard.run(_describe_request, call, region)
    if has_place(service, operation_name):
        # Guarded apart: a request whose context cannot be added goes out as it was.
        call.parameters = current.guard.run(_with_context, current, call) or api_params
    return call


def _describe_request(call: _AwsCall, region: str) -> None:
    found = aws_attributes.read_request(call.service, call.operation, call.parameters, region)
    call.span.set_attributes(found)


def _with_context(current: Telemetry, call: _AwsCall) -> dict[str, Any]:
    fields: dict[str, str] = {}
    current.tracer.inject(call.span, fields)
    fields.pop(X_RAY, None)  # AWS's services take it from the request's own header
    return add_context(
        call.service,
        call.operation,
        call.parameters,
        fields,
        x_ray_header(current, call.span),
        current.settings.payload_context,
    )


def _finish(call: _AwsCall, response: Any) -> None:
    if call.span.context.is_sampled and isinstance(response, dict):
        _note_metadata(call, response)
        found = aws_attributes.read_response(call.service, call.operation, response)
        call.span.set_attributes(found)
    call.end()


def _fail(call: _AwsCall, error: BaseException) -> None:
    response = getattr(error, "response", None)  # of a ClientError: what the service answered
    code = ""
    if isinstance(response, dict):
        _note_metadata(call, response)
        code = str((response.get("Error") or {}).get("Code") or "")
    call.fail(error, code)


def _note_metadata(call: _AwsCall, response: dict[str, Any]) -> None:
    metadata = response.get("ResponseMetadata")
    if not isinstance(metadata, dict):
        return
    attributes = call.span.attributes
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


@lru_cache(maxsize=64)
def _server(endpoint_url: str) -> dict[str, Any]:
    from urllib.parse import urlsplit

    parts = urlsplit(endpoint_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}


def _prepare_request(
    wrapped: Callable[..., Any],
    _endpoint: Any,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    current = recorder(NAME)
    if current is not None:
        current.guard.run(_put_header, current, *arguments, **keywords)
    return wrapped(*arguments, **keywords)


def _put_header(current: Telemetry, request: Any) -> None:
    """Make the current span the Parent, in place of Lambda's that botocore has put there.

    The request is signed already; botocore leaves this header out of the signature.
    """
    span = current.tracer.current_span()
    if span is None or not span.context.is_sampled or span.scope is not SCOPE:
        return
    headers = request.headers
    if X_RAY in headers:
        del headers[X_RAY]
    headers[X_RAY] = x_ray_header(current, span)

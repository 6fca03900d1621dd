"""The AWS APIs on one port, told apart by the shape of the request and never by its host.

Unmodified clients therefore need one `endpoint_url` for all services.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lambdatrace_collector.aws.call import (
    ACCOUNT,
    Call,
    FromBody,
    LateParameters,
    attempt_of,
    constraint_error,
    region_of,
    signed_service,
)
from lambdatrace_collector.aws.cbor_protocol import PROTOCOL_HEADER, CborProtocol, path_names
from lambdatrace_collector.aws.constraints import Constraints
from lambdatrace_collector.aws.error_answer import error_answer
from lambdatrace_collector.aws.event_stream import CONTENT_TYPE as EVENT_STREAM
from lambdatrace_collector.aws.event_stream import event_messages
from lambdatrace_collector.aws.json_protocol import JsonProtocol, RestJsonProtocol
from lambdatrace_collector.aws.query_protocol import FORM, QueryProtocol
from lambdatrace_collector.errors import (
    AwsError,
    BadRequestError,
    RequestError,
    ServiceError,
)
from lambdatrace_collector.exchange import Request, Response, retry_headers
from lambdatrace_collector.streaming import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lambdatrace_collector.aws.call import Operation
    from lambdatrace_collector.aws.protocol import WireProtocol
    from lambdatrace_collector.aws.services import AwsService


class AwsEndpoint:
    """All services, on all paths of theirs. `operations` are by service and operation name."""

    def __init__(
        self,
        services: Sequence[AwsService],
        operations: Mapping[tuple[str, str], Operation | FromBody],
    ) -> None:
        self._operations = operations
        self._constraints = {service.name: Constraints() for service in services}
        speakers = [service for service in services if "json" in service.protocols]
        prefixes = [service.target_prefix for service in speakers]
        self._json = {
            prefix: JsonProtocol(service, prefixes)
            for prefix, service in zip(prefixes, speakers, strict=True)
        }
        self._unknown_json = self._json[prefixes[0]]
        self._query = QueryProtocol(_only(services, "query"))
        self._cbor = CborProtocol(_only(services, "smithy-rpc-v2-cbor"))
        self._rest = RestJsonProtocol(_only(services, "rest-json"))

    @property
    def paths(self) -> Sequence[tuple[str, str]]:
        """Methods and paths of the operations, `{name}` standing for one part of a path."""
        rpc = (("POST", "/"), ("GET", "/"), ("POST", "/service/{service}/operation/{operation}"))
        return (*rpc, *self._rest.operations)

    def protocol_of(self, request: Request) -> WireProtocol | None:
        """The protocol that the request has the shape of; None when it has that of none."""
        target = request.headers.get("x-amz-target")
        if PROTOCOL_HEADER in request.headers or path_names(request.path)[0]:
            return self._cbor
        if target is not None:
            return self._json.get(target.partition(".")[0], self._unknown_json)
        if (request.method, request.path) in self._rest.operations:
            return self._rest
        if request.path == "/" and (request.content_type == FORM or "Action" in request.query):
            return self._query
        if signed_service(request) == self._rest.service.name:
            return self._rest
        return None

    async def handle(self, request: Request) -> Response | StreamingResponse:
        """The answer of the operation that the request calls, in the request's protocol."""
        protocol = self.protocol_of(request)
        if protocol is None:
            raise BadRequestError(
                "this is no AWS request that the collector knows: expected X-Amz-Target (AWS JSON),"
                f" {PROTOCOL_HEADER} (RPC v2 CBOR) or a form with Action and Version (AWS query)"
            )
        request_id = _request_id()
        try:
            name, source = protocol.read_operation(request)
            model = self._offered(protocol.service, name)
            operation = self._operations[protocol.service.name, name]
            decode = partial(self._parameters, protocol, model, source)
            if isinstance(operation, FromBody):
                call = _call(protocol, model, LateParameters(decode), request)
                result = await operation.run(call)
            else:
                result = await operation(_call(protocol, model, decode(), request))
            answer = _answer(protocol, model, result, request_id)
        except (RequestError, ServiceError) as error:
            return _failed(protocol, request, error, request_id)
        return replace(answer, headers={**answer.headers, "x-amzn-RequestId": request_id})

    def error_response(self, request: Request, error: RequestError | ServiceError) -> Response:
        """What went wrong before the operation, in the shape that the request's client reads."""
        protocol = self.protocol_of(request) or self._unknown_json
        return _failed(protocol, request, error, _request_id())

    def _offered(self, service: AwsService, operation: str) -> Any:
        """The operation's model. Raises AwsError when AWS or the collector does not have it."""
        model = service.operation(operation)
        if model is not None and (service.name, operation) in self._operations:
            return model
        message = (
            f"{operation[:100]!r} is not an operation of {service.name}"
            if model is None
            else f"{operation} of {service.name} is not offered by this collector"
        )
        raise AwsError("UnknownOperationException", message, query_code="InvalidAction", status=404)

    def _parameters(self, protocol: WireProtocol, model: Any, source: Any) -> Mapping[str, Any]:
        """The parameters in `source`. Raises AwsError when types or constraints are broken."""
        parameters = protocol.read_parameters(source, model.input_shape)
        if model.input_shape is not None:
            name = protocol.service.name
            failures = self._constraints[name].failures(model.input_shape, parameters)
            if failures:
                raise constraint_error(name, model, failures)
        return parameters


def _call(
    protocol: WireProtocol, model: Any, parameters: Mapping[str, Any], request: Request
) -> Call:
    return Call(
        service=protocol.service.name,
        operation=model.name,
        parameters=parameters,
        account=ACCOUNT,
        region=region_of(request),
        now_ms=time.time_ns() // 1_000_000,
        body=request.body,
        body_type=protocol.body_type,
        invocation_id=request.headers.get("amz-sdk-invocation-id", ""),
        attempt=attempt_of(request),
    )


def _answer(
    protocol: WireProtocol, model: Any, result: Mapping[str, Any], request_id: str
) -> Response | StreamingResponse:
    if model.has_event_stream_output:
        return StreamingResponse(200, event_messages(protocol, model, result), EVENT_STREAM)
    return protocol.write_result(model, result, request_id)


def _failed(
    protocol: WireProtocol,
    request: Request,
    error: RequestError | ServiceError,
    request_id: str,
) -> Response:
    answer = error_answer(protocol.service, error)
    response = protocol.write_error(request, answer, request_id)
    identity = {"x-amzn-RequestId": request_id, **retry_headers(error)}
    return replace(response, headers={**response.headers, **identity}, error_type=answer.code)


def _only(services: Sequence[AwsService], protocol: str) -> AwsService:
    """The one service that speaks `protocol`: two would have to be told apart by their requests."""
    (service,) = (service for service in services if protocol in service.protocols)
    return service


def _request_id() -> str:
    return str(uuid.uuid4())

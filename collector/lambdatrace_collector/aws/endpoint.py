"""The AWS APIs on one path, told apart by the shape of the request and never by its host.

Unmodified clients therefore need one `endpoint_url` for all services.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from lambdatrace_collector.aws import json_protocol, query_protocol
from lambdatrace_collector.aws.call import (
    ACCOUNT,
    Call,
    attempt_of,
    constraint_error,
    region_of,
)
from lambdatrace_collector.aws.constraints import Constraints
from lambdatrace_collector.errors import (
    AwsError,
    BadRequestError,
    RequestError,
    ServiceError,
)
from lambdatrace_collector.exchange import Request, Response, retry_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from lambdatrace_collector.aws.call import Operation
    from lambdatrace_collector.aws.services import AwsService

_HTTP_CODES = {  # those that every AWS service has; SDKs retry the last two, a few times
    408: "RequestTimeout",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaTypeException",
    500: "InternalFailure",
    503: "ServiceUnavailableException",
}


class AwsEndpoint:
    """`POST /` of all services. `operations` are by service and operation name."""

    def __init__(
        self,
        services: Iterable[AwsService],
        operations: Mapping[tuple[str, str], Operation],
    ) -> None:
        self._services = tuple(services)
        self._operations = operations
        self._constraints = {service.name: Constraints() for service in self._services}

    async def handle(self, request: Request) -> Response:
        """The answer of the operation that the request calls, in the request's protocol."""
        target = request.headers.get("x-amz-target")
        if target is not None:
            return await self._json(request, target)
        if request.content_type == query_protocol.FORM:
            return await self._query(request)
        raise BadRequestError(
            "this is no AWS request that the collector knows: expected X-Amz-Target (AWS JSON)"
            " or a form with Action and Version (AWS query)"
        )

    def error_response(self, request: Request, error: RequestError | ServiceError) -> Response:
        """What went wrong before the operation, in the shape that the request's client reads."""
        aws_error = as_aws_error(error)
        service = self._service_of_target(request.headers.get("x-amz-target", ""))
        if service is not None:
            response = json_protocol.write_error(service, request, aws_error)
        elif request.content_type == query_protocol.FORM:
            response = query_protocol.write_error(_request_id(), aws_error)
        else:
            response = json_protocol.write_error(self._services[0], request, aws_error)
        return _identified(response, _request_id(), error)

    async def _json(self, request: Request, target: str) -> Response:
        service = self._service_of_target(target)
        if service is None:
            raise AwsError(
                "UnknownOperationException",
                f"X-Amz-Target is {target!r}: the collector answers"
                f" {' and '.join(service.target_prefix for service in self._services)}",
            )
        operation = target.partition(".")[2]
        request_id = _request_id()
        try:
            model = self._offered(service, operation)
            parameters = json_protocol.read_parameters(request, model.input_shape)
            result = await self._call(service, model, parameters, request)
            response = json_protocol.write_result(service, model.output_shape, result)
        except (RequestError, ServiceError) as error:
            response = json_protocol.write_error(service, request, as_aws_error(error))
            return _identified(response, request_id, error)
        return _identified(response, request_id)

    async def _query(self, request: Request) -> Response:
        request_id = _request_id()
        try:
            form = query_protocol.read_form(request.body)
            service = self._service_of_version(form.get("Version", ""))
            model = self._offered(service, form.get("Action", ""))
            parameters = query_protocol.read_parameters(form, model.input_shape)
            result = await self._call(service, model, parameters, request)
            response = query_protocol.write_result(service, model, result, request_id)
        except (RequestError, ServiceError) as error:
            response = query_protocol.write_error(request_id, as_aws_error(error))
            return _identified(response, request_id, error)
        return _identified(response, request_id)

    def _offered(self, service: AwsService, operation: str) -> Any:
        """The operation's model. Raises AwsError when AWS or the collector does not have it."""
        model = service.operation(operation)
        if model is None:
            raise AwsError(
                "UnknownOperationException",
                f"{operation!r} is not an operation of {service.name}",
                query_code="InvalidAction",
            )
        if (service.name, operation) not in self._operations:
            raise AwsError(
                "UnknownOperationException",
                f"{operation} of {service.name} is not offered by this collector",
                query_code="InvalidAction",
            )
        return model

    async def _call(
        self, service: AwsService, model: Any, parameters: Mapping[str, Any], request: Request
    ) -> Mapping[str, Any]:
        if model.input_shape is not None:
            failures = self._constraints[service.name].failures(model.input_shape, parameters)
            if failures:
                raise constraint_error(service.name, failures)
        call = Call(
            service=service.name,
            operation=model.name,
            parameters=parameters,
            account=ACCOUNT,
            region=region_of(request),
            now_ms=time.time_ns() // 1_000_000,
            body=request.body,
            invocation_id=request.headers.get("amz-sdk-invocation-id", ""),
            attempt=attempt_of(request),
        )
        return await self._operations[service.name, model.name](call)

    def _service_of_target(self, target: str) -> AwsService | None:
        prefix = target.partition(".")[0]
        for service in self._services:
            if service.target_prefix == prefix:
                return service
        return None

    def _service_of_version(self, version: str) -> AwsService:
        for service in self._services:
            if service.xml_namespace is not None and service.api_version == version:
                return service
        raise AwsError(
            "InvalidAction", f"Version is {version!r}: no service here speaks the query protocol"
        )


def as_aws_error(error: RequestError | ServiceError) -> AwsError:
    """The AWS error that says what `error` says."""
    if isinstance(error, AwsError):
        return error
    code = _HTTP_CODES.get(error.status, "InvalidRequest")
    return AwsError(code, str(error), status=error.status)


def _identified(
    response: Response, request_id: str, error: RequestError | ServiceError | None = None
) -> Response:
    retry = {} if error is None else retry_headers(error)
    headers = {**response.headers, "x-amzn-RequestId": request_id, **retry}
    return Response(response.status, response.body, response.content_type, headers)


def _request_id() -> str:
    return str(uuid.uuid4())

"""What an error says in AWS's protocols: the same for all of them, each writes it in its way.

Source: the service's model; AWS API references, "Common error types".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import INTERNAL_SERVER_ERROR, AwsError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.services import AwsService
    from lambdatrace_collector.errors import ServiceError

# By HTTP status: the first that the service's model has, else the last, which every service has.
# SDKs retry 500 and 503, a few times.
_CODES = {
    404: ("UnknownOperationException",),
    408: ("RequestTimeoutException",),
    413: ("RequestEntityTooLargeException",),
    415: ("UnsupportedMediaTypeException",),
    429: ("ThrottlingException",),
    500: ("InternalServiceFault", "InternalFailure"),
    503: ("ServiceUnavailableException", "ServiceUnavailable"),
}
_MALFORMED = ("MalformedHttpRequestException",)


@dataclass(frozen=True)
class ErrorAnswer:
    """An error as a service answers it."""

    code: str
    query_code: str  # what the query protocol calls it
    status: int
    message: str
    members: Mapping[str, Any]  # with the message, under the name that the model gives it
    shape: Any | None  # of `members`; None when the error is not one of the service's own

    @property
    def fault(self) -> str:
        """Whose fault it is, as AWS's protocols say it."""
        return "Sender" if self.status < INTERNAL_SERVER_ERROR else "Receiver"


def error_answer(service: AwsService, error: RequestError | ServiceError) -> ErrorAnswer:
    """How `service` answers `error`."""
    aws_error = error if isinstance(error, AwsError) else _aws_error(service, error)
    shape = service.error_shape(aws_error.code)
    modelled = {} if shape is None else shape.metadata.get("error", {})
    message = str(aws_error)
    name = "Message" if shape is not None and "Message" in shape.members else "message"
    return ErrorAnswer(
        code=aws_error.code,
        query_code=aws_error.query_code or modelled.get("code", aws_error.code),
        status=aws_error.given_status or modelled.get("httpStatusCode", aws_error.status),
        message=message,
        members={**aws_error.members, **({name: message} if message else {})},
        shape=shape,
    )


def _aws_error(service: AwsService, error: RequestError | ServiceError) -> AwsError:
    codes = _CODES.get(error.status, _MALFORMED)
    code = next((code for code in codes if service.error_shape(code) is not None), codes[-1])
    return AwsError(code, str(error), status=error.status)

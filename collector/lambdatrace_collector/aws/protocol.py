from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.error_answer import ErrorAnswer
    from lambdatrace_collector.aws.services import AwsService
    from lambdatrace_collector.exchange import Request, Response


class WireProtocol(Protocol):
    """One of AWS's protocols, as one service speaks it."""

    service: AwsService
    body_type: str  # the content type of requests, whatever version of it they name
    document_type: str  # the content type of a structure in an event stream

    def read_operation(self, request: Request) -> tuple[str, Any]:
        """The operation's name, and what `read_parameters` reads of its input.

        Raises AwsError when the request is for another service or has no form at all.
        """
        ...

    def read_parameters(self, source: Any, input_shape: Any | None) -> dict[str, Any]:
        """The parameters, as `Call` has them. Raises AwsError when they are not of their types."""
        ...

    def write_result(self, model: Any, result: Mapping[str, Any], request_id: str) -> Response:
        """The response that carries the result of the operation `model`."""
        ...

    def write_error(self, request: Request, error: ErrorAnswer, request_id: str) -> Response:
        """The response that carries `error`."""
        ...

    def write_document(self, shape: Any, value: Mapping[str, Any]) -> bytes:
        """A structure as bytes of `document_type`."""
        ...

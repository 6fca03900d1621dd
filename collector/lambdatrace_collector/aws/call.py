from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from lambdatrace_collector.exchange import Request

    Operation = Callable[["Call"], Awaitable[Mapping[str, Any]]]

ACCOUNT = "123456789012"  # the account of AWS's own examples
REGION_DEFAULT = "us-east-1"

_ATTEMPT = re.compile(r"(?:\A|;)\s*attempt=([0-9]{1,3})\s*(?:;|\Z)")
# Of a bounded length: the time a search takes must not grow with the square of the header.
_SCOPE = re.compile(r"[^/,\s]{1,128}/[0-9]{8}/([a-z0-9-]{1,32})/([a-z0-9-]{1,32})/aws4_request")
_SIGNED = re.compile(rf"Credential={_SCOPE.pattern}")


@dataclass(frozen=True)
class Call:
    """One call of an AWS operation, decoded: the same whatever protocol carried it.

    Timestamps in `parameters` are seconds since 1970 as float, blobs are bytes; members that the
    client left out are missing.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    account: str
    region: str
    now_ms: int
    body: bytes = b""  # as it was sent, decompressed
    body_type: str = ""  # application/json, application/cbor, or FORM of the query protocol
    # The same in every try of one call (`amz-sdk-invocation-id`); empty when the client sends none.
    invocation_id: str = ""
    attempt: int = 1  # 1 unless the client says that it tried before (`amz-sdk-request`)


@dataclass(frozen=True)
class FromBody:
    """An operation that gives `call.body` to the engine, and looks at no parameter itself.

    Its `call.parameters` are decoded and checked when it first reads one, with the errors of any
    other operation: for bodies that the engine does not take. Decoding costs a µs per value.
    """

    run: Operation


class LateParameters(Mapping[str, Any]):
    """Parameters that `decode` gives, once they are asked for."""

    def __init__(self, decode: Callable[[], Mapping[str, Any]]) -> None:
        self._decode = decode
        self._decoded: Mapping[str, Any] | None = None

    def _parameters(self) -> Mapping[str, Any]:
        if self._decoded is None:
            self._decoded = self._decode()
        return self._decoded

    def __getitem__(self, name: str) -> Any:
        return self._parameters()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters())

    def __len__(self) -> int:
        return len(self._parameters())


def region_of(request: Request) -> str:
    """The region that the request is signed for; signatures are not verified."""
    return _scope_part(_credential_scope(request), 1) or REGION_DEFAULT


def region_of_authorization(header: str) -> str:
    """The region in the credential scope of an Authorization header."""
    return _scope_part(_SIGNED.search(header), 1) or REGION_DEFAULT


def signed_service(request: Request) -> str:
    """The service that the request is signed for; empty when it is not signed."""
    return _scope_part(_credential_scope(request), 2)


def attempt_of(request: Request) -> int:
    """Which try of its call the request is, as its client counts; 1 when it does not say.

    Source: AWS SDKs reference guide, "Retry behavior"; `amz-sdk-request: ttl=…; attempt=2; max=3`.
    """
    told = _ATTEMPT.search(request.headers.get("amz-sdk-request", ""))
    return int(told[1]) if told else 1


def _credential_scope(request: Request) -> re.Match[str] | None:
    """Source: Signature Version 4, credential scope, in the header or in a presigned URL."""
    return _SIGNED.search(request.headers.get("authorization", "")) or _SCOPE.fullmatch(
        request.parameter("X-Amz-Credential") or ""
    )


def _scope_part(scope: re.Match[str] | None, part: int) -> str:
    return scope[part] if scope else ""


def constraint_error(service: str, model: Any, failures: list[str]) -> AwsError:
    """AWS's error for parameters that break constraints of the model, one sentence each.

    CloudWatch Logs and X-Ray have errors of their own for it; which, the operation says.
    """
    count = f"{len(failures)} validation error{'s' if len(failures) > 1 else ''} detected"
    message = f"{count}: {'; '.join(failures)}"
    declared = {shape.name for shape in model.error_shapes}
    if service != "cloudwatch":
        for code in ("InvalidParameterException", "InvalidRequestException"):
            if code in declared:
                return AwsError(code, message)
    return AwsError("ValidationException", message, query_code="ValidationError")

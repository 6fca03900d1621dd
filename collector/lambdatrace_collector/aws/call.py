from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lambdatrace_collector.exchange import Request

    Operation = Callable[["Call"], Awaitable[Mapping[str, Any]]]

ACCOUNT = "123456789012"  # the account of AWS's own examples
REGION_DEFAULT = "us-east-1"

_REGION = re.compile(r"Credential=[^/,\s]+/\d{8}/([a-z0-9-]{1,32})/")
_PRESIGNED_REGION = re.compile(r"[^/]+/\d{8}/([a-z0-9-]{1,32})/")


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


def region_of(request: Request) -> str:
    """The region that the request is signed for; signatures are not verified.

    Source: Signature Version 4, credential scope, in the header or in a presigned URL.
    """
    signed = _REGION.search(request.headers.get("authorization", ""))
    if signed:
        return signed[1]
    presigned = _PRESIGNED_REGION.match(request.parameter("X-Amz-Credential") or "")
    return presigned[1] if presigned else REGION_DEFAULT


def constraint_error(service: str, failures: list[str]) -> AwsError:
    """AWS's error for parameters that break constraints of the model, one sentence each."""
    count = f"{len(failures)} validation error{'s' if len(failures) > 1 else ''} detected"
    message = f"{count}: {'; '.join(failures)}"
    if service == "logs":
        return AwsError("InvalidParameterException", message)
    return AwsError("ValidationException", message, query_code="ValidationError")

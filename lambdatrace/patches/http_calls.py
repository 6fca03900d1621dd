"""How every HTTP library's request begins: whether it gets a span, and which."""

from __future__ import annotations

from lambdatrace.patches.calls import Call, is_suppressed, is_within_call
from lambdatrace.patches.http_attributes import redact_url, request_attributes, span_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lambdatrace.records import Scope
    from lambdatrace.telemetry import Telemetry


def begin(
    current: Telemetry,
    scope: Scope,
    method: str,
    url: str,
    host: str,
    port: int | None,
    headers: Mapping[Any, Any],
) -> Call | None:
    """The call of a request; None if a library above has its span, or it is the SDK's business."""
    if is_within_call(current, headers) or is_suppressed() or is_own(current, url, host, port):
        return None
    method = method.upper()
    call = Call(current, span_name(method), scope)
    if call.span.context.is_sampled:
        shown = redact_url(url, current.settings.redacted_keys)
        call.span.set_attributes(request_attributes(method, shown, host, port))
    return call


def is_own(current: Telemetry, url: str, host: str, port: int | None) -> bool:
    """Whether the request is to the Runtime API, or delivers telemetry."""
    if current.function.runtime_api == f"{host}:{port or 80}":
        return True
    return url.startswith(current.exporters.urls)

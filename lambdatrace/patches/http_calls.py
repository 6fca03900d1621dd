"""How every HTTP library's request begins: whether it gets a span, and which."""

from __future__ import annotations

from sys import modules

from lambdatrace.patches.calls import HTTP_SUPPRESSED, Call, is_subsegment, is_suppressed
from lambdatrace.patches.http_attributes import redact_url, request_attributes, span_name
from lambdatrace.tracing import CURRENT_SPAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from lambdatrace.patches.http_attributes import Server
    from lambdatrace.records import Scope
    from lambdatrace.telemetry import Telemetry


def begin(
    current: Telemetry,
    scope: Scope,
    method: str,
    url: str,
    server: Server,
    headers: Mapping[Any, Any] | Iterable[bytes],
) -> Call | None:
    """The call of a request; None if another tracer has its span, or it is the SDK's business."""
    if "opentelemetry.context" in modules and is_suppressed(HTTP_SUPPRESSED):
        return None
    above = CURRENT_SPAN.get()
    if above is not None and is_subsegment(above, headers):
        return None
    # To the Runtime API, or with telemetry.
    if current.function.runtime_api == server.address or url.startswith(current.exporters.urls):
        return None
    method = method.upper()
    attributes = {}
    if current.tracer.is_recording():
        shown = redact_url(url, current.settings.redacted_keys)
        attributes = request_attributes(method, shown, server.host, server.port)
    return Call(current, span_name(method), scope, attributes)

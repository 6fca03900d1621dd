"""urllib3, which `requests` and `botocore` send with: a CLIENT span for each attempt.

The attempt, not the call: a retry and a redirect are requests of their own, with a span and with
headers of their own, as the conventions for HTTP clients want. Versions 1.26 and 2.
"""

from __future__ import annotations

from lambdatrace.patches import recorder, wrap
from lambdatrace.patches.calls import missing, outgoing, scope, within
from lambdatrace.patches.http_attributes import server_of
from lambdatrace.patches.http_calls import begin
from lambdatrace.patches.http_client import adds_headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from lambdatrace.patches.calls import Call
    from lambdatrace.telemetry import Telemetry

NAME = "urllib3"
SCOPE = scope(NAME)
# Connection, method, target and body: after them the headers are, if not given by keyword.
_WITH_TARGET, _BEFORE_HEADERS = 3, 4


def attach(module: ModuleType) -> None:
    """Patch `urllib3.connectionpool`."""
    wrap(module.HTTPConnectionPool, "_make_request", _make_request)


def _make_request(
    wrapped: Callable[..., Any], pool: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    current = recorder(NAME) if within() is None else None
    if current is None or not _WITH_TARGET <= len(arguments) <= _BEFORE_HEADERS:
        # urllib3 itself gives the headers by keyword. Of others' calls http.client's patch sees it.
        return wrapped(*arguments, **keywords)
    call = current.guard.run(_begin, current, pool, arguments, keywords)
    if call is None:
        return wrapped(*arguments, **keywords)
    try:
        response = call.run(wrapped, arguments, keywords)
    except BaseException as error:
        current.guard.run(call.fail, error)
        raise
    current.guard.run(call.end_with_status, getattr(response, "status", None))
    return response


def _begin(
    current: Telemetry, pool: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Call | None:
    """The call of an attempt; other headers are put into `keywords` if need be."""
    connection, method, target = arguments[:3]
    headers = keywords.get("headers")
    server = server_of(pool.scheme, pool.host, pool.port)
    call = begin(current, SCOPE, method, server.url(target), server, headers or {})
    if call is None:
        return None
    history = getattr(keywords.get("retries"), "history", None)
    if history:
        call.span.set_attribute("http.request.resend_count", len(history))
    carrier = outgoing(current, call.span)
    if adds_headers(connection):
        call.unsent = carrier
    else:
        own = headers.copy() if headers is not None else {}
        own.update(missing(carrier, own))
        keywords["headers"] = own
    return call

"""urllib3, which `requests` and `botocore` send with: a CLIENT span for each attempt.

The attempt, not the call: a retry and a redirect are requests of their own, with a span and with
headers of their own, as the conventions for HTTP clients want. Versions 1.26 and 2.
"""

from __future__ import annotations

from lambdatrace import telemetry
from lambdatrace.patches import is_wanted, wrap
from lambdatrace.patches.calls import missing, outgoing, scope
from lambdatrace.patches.http_attributes import absolute_url
from lambdatrace.patches.http_calls import begin

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
_BEFORE_HEADERS = 4


def attach(module: ModuleType) -> None:
    """Patch `urllib3.connectionpool`."""
    wrap(module.HTTPConnectionPool, "_make_request", _make_request)


def _make_request(
    wrapped: Callable[..., Any], pool: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    current = telemetry.installed()
    if current is None or len(arguments) > _BEFORE_HEADERS or not is_wanted(NAME):
        # urllib3 itself gives the headers by keyword. Of others' calls http.client's patch sees it.
        return wrapped(*arguments, **keywords)
    begun = current.guard.run(_begin, current, pool, *arguments, **keywords)
    if begun is None:
        return wrapped(*arguments, **keywords)
    call, headers = begun
    call.enter()
    try:
        response = wrapped(*arguments, **{**keywords, "headers": headers})
    except BaseException as error:
        call.leave()
        current.guard.run(call.fail, error)
        raise
    call.leave()
    current.guard.run(_finish, call, response)
    return response


def _begin(
    current: Telemetry,
    pool: Any,
    _connection: Any,
    method: str,
    target: str,
    *_: Any,
    headers: Any = None,
    retries: Any = None,
    **_others: Any,
) -> tuple[Call, Any] | None:
    url = absolute_url(pool.scheme, pool.host, pool.port, target)
    call = begin(current, SCOPE, method, url, pool.host, pool.port, headers or {})
    if call is None:
        return None
    attempts = len(getattr(retries, "history", ()))
    if attempts:
        call.span.set_attribute("http.request.resend_count", attempts)
    own = headers.copy() if headers is not None else {}
    own.update(missing(outgoing(current, call.span), own))
    return call, own


def _finish(call: Call, response: Any) -> None:
    call.note_status(getattr(response, "status", None))
    call.end()

"""requests, as far as urllib3 does not see it: sessions with transport adapters of another kind.

What goes through requests' own HTTPAdapter is a request of urllib3's, and recorded there.
"""

from __future__ import annotations

from lambdatrace import telemetry
from lambdatrace.patches import is_wanted, urllib3, wrap
from lambdatrace.patches.calls import missing, outgoing, scope
from lambdatrace.patches.http_calls import begin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from lambdatrace.patches.calls import Call
    from lambdatrace.telemetry import Telemetry

NAME = "requests"
SCOPE = scope(NAME)


def attach(module: ModuleType) -> None:
    """Patch `requests.sessions`."""
    wrap(module.Session, "send", _send)


def _send(
    wrapped: Callable[..., Any], session: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    current = telemetry.installed()
    if current is None or not is_wanted(NAME) or not arguments:
        return wrapped(*arguments, **keywords)
    begun = current.guard.run(_begin, current, session, arguments[0])
    if begun is None:
        return wrapped(*arguments, **keywords)
    call, request = begun
    call.enter()
    try:
        response = wrapped(request, *arguments[1:], **keywords)
    except BaseException as error:
        call.leave()
        current.guard.run(call.fail, error)
        raise
    call.leave()
    current.guard.run(_finish, call, response)
    return response


def _begin(current: Telemetry, session: Any, request: Any) -> tuple[Call, Any] | None:
    from urllib.parse import urlsplit

    from requests.adapters import HTTPAdapter

    parts = urlsplit(request.url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    # The method, not the class: an adapter derived from HTTPAdapter may send in its own way.
    adapter = session.get_adapter(request.url)
    if getattr(type(adapter), "send", None) is HTTPAdapter.send and is_wanted(urllib3.NAME):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    method = request.method or ""
    call = begin(current, SCOPE, method, request.url, parts.hostname, port, request.headers)
    if call is None:
        return None
    sent = request.copy()
    sent.headers.update(missing(outgoing(current, call.span), sent.headers))
    return call, sent


def _finish(call: Call, response: Any) -> None:
    call.note_status(getattr(response, "status_code", None))
    call.end()

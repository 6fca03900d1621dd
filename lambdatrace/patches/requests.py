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
    call, added = begun
    call.enter()
    try:
        response = wrapped(*arguments, **keywords)
    except BaseException as error:
        call.leave()
        current.guard.run(_take_headers, arguments[0], added)
        current.guard.run(call.fail, error)
        raise
    call.leave()
    current.guard.run(_take_headers, arguments[0], added)
    current.guard.run(_finish, call, response)
    return response


def _begin(current: Telemetry, session: Any, request: Any) -> tuple[Call, dict[str, str]] | None:
    from urllib.parse import urlsplit

    parts = urlsplit(request.url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    if is_wanted(urllib3.NAME) and _is_sent_by_urllib3(session, request.url):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    method = request.method or ""
    call = begin(current, SCOPE, method, request.url, parts.hostname, port, request.headers)
    if call is None:
        return None
    # In place, and taken out again: the adapter and the response have the caller's own request.
    added = missing(outgoing(current, call.span), request.headers)
    request.headers.update(added)
    return call, added


def _is_sent_by_urllib3(session: Any, url: str) -> bool:
    """Whether requests itself sends to `url`, or nobody does, which `send` will say.

    As `Session.get_adapter` chooses. A session that chooses in its own way is not asked, since
    that runs the user's code once more.
    """
    from requests import Session
    from requests.adapters import HTTPAdapter

    if type(session).get_adapter is not Session.get_adapter:
        return False
    for prefix, adapter in session.adapters.items():
        if url.lower().startswith(prefix.lower()):
            # The method, not the class: one derived from HTTPAdapter may send in its own way.
            return getattr(type(adapter), "send", None) is HTTPAdapter.send
    return True


def _take_headers(request: Any, added: dict[str, str]) -> None:
    for name, value in added.items():
        if request.headers.get(name) == value:
            del request.headers[name]


def _finish(call: Call, response: Any) -> None:
    call.note_status(getattr(response, "status_code", None))
    call.end()

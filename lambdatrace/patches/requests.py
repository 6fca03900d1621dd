"""requests, as far as urllib3 does not see it: sessions with transport adapters of another kind.

What goes through requests' own HTTPAdapter is a request of urllib3's, and recorded there.
"""

from __future__ import annotations

from functools import lru_cache
from sys import modules

from lambdatrace.patches import recorder, wrap
from lambdatrace.patches.calls import missing, outgoing, scope, within
from lambdatrace.patches.http_attributes import Server
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
    current = recorder(NAME) if within() is None else None
    if current is None or not arguments:
        return wrapped(*arguments, **keywords)
    begun = current.guard.run(_begin, current, session, arguments[0])
    if begun is None:
        return wrapped(*arguments, **keywords)
    call, added = begun
    try:
        response = call.run(wrapped, arguments, keywords)
    except BaseException as error:
        current.guard.run(_take_headers, arguments[0], added)
        current.guard.run(call.fail, error)
        raise
    current.guard.run(_take_headers, arguments[0], added)
    current.guard.run(call.end_with_status, getattr(response, "status_code", None))
    return response


def _begin(current: Telemetry, session: Any, request: Any) -> tuple[Call, dict[str, str]] | None:
    url, headers = request.url or "", request.headers
    if recorder("urllib3") is not None and _is_sent_by_urllib3(session, url):
        return None
    server = _server(url.partition("?")[0])
    if server is None:
        return None
    call = begin(current, SCOPE, request.method or "", url, server, headers)
    if call is None:
        return None
    # In place, and taken out again: the adapter and the response have the caller's own request.
    added = missing(outgoing(current, call.span), headers)
    for name, value in added.items():
        headers[name] = value
    return call, added


@lru_cache(maxsize=64)
def _server(url: str) -> Server | None:
    """Whom an HTTP URL, without its query, names; None if it is no such URL."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Server(parts.scheme, parts.hostname, port)


def _is_sent_by_urllib3(session: Any, url: str) -> bool:
    """Whether requests itself sends to `url`, or nobody does, which `send` will say.

    As `Session.get_adapter` chooses. A session that chooses in its own way is not asked, since
    that runs the user's code once more.
    """
    requests: Any = modules["requests.sessions"]
    if type(session).get_adapter is not requests.Session.get_adapter:
        return False
    # The method, not the class: one derived from HTTPAdapter may send in its own way.
    senders = {getattr(type(adapter), "send", None) for adapter in session.adapters.values()}
    if senders == {requests.HTTPAdapter.send}:
        return True
    url = url.lower()
    for prefix, adapter in session.adapters.items():
        if url.startswith(prefix.lower()):
            return getattr(type(adapter), "send", None) is requests.HTTPAdapter.send
    return True


def _take_headers(request: Any, added: dict[str, str]) -> None:
    for name, value in added.items():
        if request.headers.get(name) == value:
            del request.headers[name]

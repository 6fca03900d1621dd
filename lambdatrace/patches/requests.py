"""requests, as far as urllib3 does not see it: transport adapters that send in their own way.

What goes through requests' own HTTPAdapter is a request of urllib3's, and recorded there. So it is
an adapter's `send` that is patched, once a session has such an adapter mounted, and other sessions
cost nothing.
"""

from __future__ import annotations

from functools import lru_cache
from sys import modules

from lambdatrace import telemetry
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

ADAPTERS_MAX = 100  # classes; a program that makes them as it runs has them kept by the patch

_adapters: set[type] = set()


def attach(module: ModuleType) -> None:
    """Patch `requests.sessions`."""
    from requests.adapters import BaseAdapter  # loaded by it

    wrap(module.Session, "mount", _mount)
    # For sessions that there are already.
    _patch_sender(module.HTTPAdapter)
    for kind in _derived(BaseAdapter):
        _patch_sender(_sender(kind))


def _mount(
    wrapped: Callable[..., Any], session: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    result = wrapped(*arguments, **keywords)
    current = telemetry.installed()
    if current is not None and current.is_active:
        current.guard.run(_patch_adapters, session)
    return result


def _patch_adapters(session: Any) -> None:
    for adapter in session.adapters.values():
        _patch_sender(_sender(type(adapter)))


def _patch_sender(sender: type | None) -> None:
    if sender is not None and len(_adapters) < ADAPTERS_MAX and not _is_seen_below(sender):
        wrap(sender, "send", _send)
        _adapters.add(sender)


def _derived(kind: type) -> list[type]:
    """All classes below `kind`."""
    below: list[type] = kind.__subclasses__()
    return below + [found for each in below for found in _derived(each)]


def _sender(adapter: type) -> type | None:
    """Whose the method is that sends: a class derived from HTTPAdapter may have its own."""
    return next((kind for kind in adapter.__mro__ if "send" in vars(kind)), None)


def _is_seen_below(sender: type | None) -> bool:
    """Whether what this class sends is recorded as a request of urllib3's."""
    requests: Any = modules["requests.sessions"]
    return sender is requests.HTTPAdapter and recorder("urllib3") is not None


def _send(
    wrapped: Callable[..., Any], adapter: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    current = recorder(NAME) if within() is None else None
    if current is None or not arguments:
        return wrapped(*arguments, **keywords)
    begun = current.guard.run(_begin, current, adapter, arguments[0])
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


def _begin(current: Telemetry, adapter: Any, request: Any) -> tuple[Call, dict[str, str]] | None:
    if _is_seen_below(_sender(type(adapter))):
        return None
    url, headers = request.url or "", request.headers
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


def _take_headers(request: Any, added: dict[str, str]) -> None:
    for name, value in added.items():
        if request.headers.get(name) == value:
            del request.headers[name]

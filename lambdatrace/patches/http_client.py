"""http.client, which `urllib.request` and many small clients send with.

A request is made in steps there, `putrequest`, `putheader`…, `endheaders`, `getresponse`: the span
is begun by the first and ended by the last, and is nobody's parent meanwhile. One that is never
answered is closed with its invocation.
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

NAME = "http.client"
SCOPE = scope(NAME)
_CALL = "_lambdatrace_call"  # where the connection keeps the call under way


def attach(module: ModuleType) -> None:
    """Patch `http.client`."""
    connection = module.HTTPConnection
    # What ends a span first: where that is missing, none is begun.
    wrap(connection, "getresponse", _get_response)
    wrap(connection, "endheaders", _end_headers)
    wrap(connection, "putrequest", _put_request)


def _put_request(
    wrapped: Callable[..., Any],
    connection: Any,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    result = wrapped(*arguments, **keywords)
    current = telemetry.installed()
    if current is not None and is_wanted(NAME):
        current.guard.run(_begin, current, connection, *arguments, **keywords)
    return result


def _begin(
    current: Telemetry, connection: Any, method: str, url: str, *_: Any, **_others: Any
) -> None:
    _take(connection)
    # Behind a tunnel the connection's own host is the proxy.
    host = getattr(connection, "_tunnel_host", None) or connection.host
    port = getattr(connection, "_tunnel_port", None) or connection.port
    scheme = "https" if connection.default_port == 443 else "http"  # noqa: PLR2004 - HTTPSConnection
    call = begin(current, SCOPE, method, absolute_url(scheme, host, port, url), host, port)
    if call is not None:
        setattr(connection, _CALL, call)


def _end_headers(
    wrapped: Callable[..., Any],
    connection: Any,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    call = getattr(connection, _CALL, None)
    current = telemetry.installed()
    if call is None or current is None:
        return wrapped(*arguments, **keywords)
    current.guard.run(_put_context, current, connection, call)
    call.enter()
    try:
        result = wrapped(*arguments, **keywords)
    except BaseException as error:
        call.leave()
        _take(connection)
        current.guard.run(call.fail, error)
        raise
    call.leave()
    return result


def _put_context(current: Telemetry, connection: Any, call: Call) -> None:
    # The lines of the head so far, which the class keeps until `endheaders` sends them.
    lines = getattr(connection, "_buffer", ())
    present = [line.partition(b":")[0] for line in lines]
    for name, value in missing(outgoing(current, call.span), present).items():
        connection.putheader(name, value)


def _get_response(
    wrapped: Callable[..., Any],
    connection: Any,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    call = getattr(connection, _CALL, None)
    current = telemetry.installed()
    if call is None or current is None:
        return wrapped(*arguments, **keywords)
    _take(connection)
    try:
        response = wrapped(*arguments, **keywords)
    except BaseException as error:
        current.guard.run(call.fail, error)
        raise
    current.guard.run(_finish, call, response)
    return response


def _finish(call: Call, response: Any) -> None:
    call.note_status(getattr(response, "status", None))
    call.end()


def _take(connection: Any) -> None:
    """Forget the call under way."""
    connection.__dict__.pop(_CALL, None)

"""http.client, which `urllib.request` and many small clients send with.

A request is made in steps there, `putrequest`, `putheader`…, `endheaders`, `getresponse`. The span
is begun by `endheaders`, the first that sends, and ended by the last; it is nobody's parent
meanwhile. One that is never answered is closed with its invocation.
"""

from __future__ import annotations

from lambdatrace import telemetry
from lambdatrace.patches import is_wanted, wrap
from lambdatrace.patches.calls import is_within_ours, missing, outgoing, scope
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


def _end_headers(
    wrapped: Callable[..., Any],
    connection: Any,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    _take(connection)  # of a request that nobody has asked the answer of
    current = telemetry.installed()
    if current is None or is_within_ours() or not is_wanted(NAME):
        return wrapped(*arguments, **keywords)
    call = current.guard.run(_begin, current, connection)
    if call is None:
        return wrapped(*arguments, **keywords)
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


def _begin(current: Telemetry, connection: Any) -> Call | None:
    # The lines of the head so far, which the class keeps until `endheaders` sends them.
    lines = connection._buffer  # noqa: SLF001 - nothing else has the headers
    if not lines:  # no `putrequest` before: http.client's to refuse
        return None
    method, _, target = lines[0].decode("ascii").rpartition(" ")[0].partition(" ")
    headers = {name: value for name, _, value in (line.partition(b":") for line in lines[1:])}
    # Behind a tunnel the connection's own host is the proxy.
    host = getattr(connection, "_tunnel_host", None) or connection.host
    port = getattr(connection, "_tunnel_port", None) or connection.port
    scheme = "https" if connection.default_port == 443 else "http"  # noqa: PLR2004 - HTTPSConnection
    url = absolute_url(scheme, host, port, target)
    call = begin(current, SCOPE, method, url, host, port, headers)
    if call is not None:
        setattr(connection, _CALL, call)
        for name, value in missing(outgoing(current, call.span), headers).items():
            connection.putheader(name, value)
    return call


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

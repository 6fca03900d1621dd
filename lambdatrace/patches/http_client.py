"""http.client, which `urllib.request` and many small clients send with.

A request is made in steps there, `putrequest`, `putheader`…, `endheaders`, `getresponse`. The span
is begun by `endheaders`, the first that sends, and ended by the last; it is nobody's parent
meanwhile. One that is never answered is closed with its invocation.

Here the headers of a call of urllib3's are added too: its own collections take ten times as long.
"""

from __future__ import annotations

from lambdatrace import telemetry
from lambdatrace.patches import recorder, wrap
from lambdatrace.patches.calls import missing, outgoing, scope, within
from lambdatrace.patches.http_attributes import server_of
from lambdatrace.patches.http_calls import begin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Any

    from lambdatrace.patches.calls import Call
    from lambdatrace.telemetry import Telemetry

NAME = "http.client"
SCOPE = scope(NAME)
_CALL = "_lambdatrace_call"  # where the connection keeps the call under way


# In each head that has a propagator's header.
_FIELDS = (b"trace", b"\nb3:", b"\nx-b3-", b"\nbaggage:")

_patched: Any = None  # `endheaders` with our wrapper around it


def attach(module: ModuleType) -> None:
    """Patch `http.client`."""
    global _patched  # noqa: PLW0603 - the class is one per process too
    connection = module.HTTPConnection
    # What ends a span first: where that is missing, none is begun.
    wrap(connection, "getresponse", _get_response)
    wrap(connection, "endheaders", _end_headers)
    _patched = connection.endheaders


def adds_headers(connection: Any) -> bool:
    """Whether what `connection` sends comes through here, so that a call's headers can be added.

    Not if its class, or another tracer, has an `endheaders` of its own.
    """
    found = getattr(type(connection), "endheaders", None)
    if found is _patched:
        return found is not None
    return (
        getattr(found, "_self_wrapper", None) is _end_headers
    )  # `wrapt` gives a new one each time


def _end_headers(
    wrapped: Callable[..., Any],
    connection: Any,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    above = within()
    if above is not None:
        if above.unsent is not None:
            above.guard.run(_add_headers, connection, above.unsent)
            above.unsent = None
        return wrapped(*arguments, **keywords)
    _take(connection)  # of a request that nobody has asked the answer of
    current = recorder(NAME)
    if current is None:
        return wrapped(*arguments, **keywords)
    call = current.guard.run(_begin, current, connection)
    if call is None:
        return wrapped(*arguments, **keywords)
    try:
        return call.run(wrapped, arguments, keywords)
    except BaseException as error:
        _take(connection)
        current.guard.run(call.fail, error)
        raise


def _begin(current: Telemetry, connection: Any) -> Call | None:
    # The lines of the head so far, which the class keeps until `endheaders` sends them.
    lines = connection._buffer  # noqa: SLF001 - nothing else has the headers
    if not lines:  # no `putrequest` before: http.client's to refuse
        return None
    method, target, _ = lines[0].decode("ascii").split(" ", 2)
    # Behind a tunnel the connection's own host is the proxy.
    host = getattr(connection, "_tunnel_host", None) or connection.host
    port = getattr(connection, "_tunnel_port", None) or connection.port
    scheme = "https" if connection.default_port == 443 else "http"  # noqa: PLR2004 - HTTPSConnection
    server = server_of(scheme, host, port)
    call = begin(current, SCOPE, method, server.url(target), server, lines)
    if call is not None:
        setattr(connection, _CALL, call)
        _add_headers(connection, outgoing(current, call.span))
    return call


def _add_headers(connection: Any, carrier: Mapping[str, str]) -> None:
    """Add what the head lacks of `carrier`; nothing, if the caller has propagated the trace."""
    lines = connection._buffer  # noqa: SLF001 - as above; `putheader` takes 2 µs for each
    head = b"\n".join(lines).lower()
    if any(field in head for field in _FIELDS):
        carrier = missing(carrier, [line.partition(b":")[0] for line in lines[1:]])
    lines += [f"{name}: {value}".encode("latin-1") for name, value in carrier.items()]


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
    current.guard.run(call.end_with_status, getattr(response, "status", None))
    return response


def _take(connection: Any) -> None:
    """Forget the call under way."""
    connection.__dict__.pop(_CALL, None)

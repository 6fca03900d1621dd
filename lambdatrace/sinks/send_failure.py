"""Why an endpoint did not take what was sent to it, and what to do about it, in one line.

Loaded at the first failure. Of the endpoint's URL neither user nor query is told, and of its path
only what the protocol says: any other may hold a key.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.http1 import Address

_SETTING = "OTEL_EXPORTER_OTLP_ENDPOINT"
_OF_STATUS = {
    400: "it does not understand the request",
    401: "check the credentials in OTEL_EXPORTER_OTLP_HEADERS",
    403: "check the credentials in OTEL_EXPORTER_OTLP_HEADERS",
    404: f"check {_SETTING}: a base URL, to which /v1/traces and its like are added",
    405: f"check {_SETTING}: a base URL, to which /v1/traces and its like are added",
    407: "check user and password in HTTPS_PROXY or HTTP_PROXY",
    415: "check OTEL_EXPORTER_OTLP_PROTOCOL and OTEL_EXPORTER_OTLP_COMPRESSION",
    429: "it has too much to do, or a quota is used up",
}
_SERVER_ERROR = 500
_OF_PROXY = "check that variable and NO_PROXY"
_OF_TEXT = (
    ("WRONG_VERSION_NUMBER", f"it does not speak TLS: use http:// in {_SETTING}"),
    ("CERTIFICATE_VERIFY_FAILED", "OTEL_EXPORTER_OTLP_CERTIFICATE names certificates to trust"),
    ("ALERT_CERTIFICATE_REQUIRED", "it wants OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
    (
        "not answer",
        "is it reachable from the function's VPC? OTEL_EXPORTER_OTLP_TIMEOUT is for slow ones",
    ),
    ("unreachable", "is there a way to it from the function's VPC?"),
)


def endpoint_of(address: Address) -> str:
    """The endpoint's URL as it may be told."""
    scheme = "https" if address.is_tls else "http"
    path = address.path.partition("?")[0]
    last = path[path.rfind("/v1/") :] if "/v1/" in path else ""
    return f"{scheme}://{address.authority}{last if last == path else '/…' + last}"


def unreachable(address: Address, error: Exception, on_the_way: str = "") -> str:
    """What is said of a SendError `error`: endpoint, cause and remedy.

    `on_the_way` is the proxy that requests are sent to, if one is.
    """
    cause = error.__cause__
    text = str(error)
    kinds = {kind.__name__ for kind in type(cause).__mro__}
    if text.startswith("the proxy "):
        said, remedy = text, _OF_PROXY
    elif on_the_way:  # it has been reached
        peer, _, rest = text.partition(" ")
        said, remedy = f"{on_the_way}{':' * peer.endswith(':')} {rest}", _OF_PROXY
    elif "ConnectionRefusedError" in kinds:
        said, remedy = "nothing listens there", f"start a collector, or set {_SETTING}"
    elif "gaierror" in kinds:
        said, remedy = "its name cannot be resolved", f"check {_SETTING}"
    else:
        said = text.removeprefix(f"{address.authority}: ").removeprefix(f"{address.authority} ")
        remedy = next((what for mark, what in _OF_TEXT if mark in said), f"check {_SETTING}")
    return f"{endpoint_of(address)}: {said}; {remedy}"


def refused(address: Address, status: int, text: str, on_the_way: str = "") -> str:
    """What is said of an answer with `status`, and the text in it; also if it may be a proxy's."""
    said = f"HTTP {status} {text}".rstrip()
    remedy = _OF_STATUS.get(status, "it has failed itself" if status >= _SERVER_ERROR else "")
    asked = f", asked through {on_the_way}" if on_the_way else ""
    return f"{endpoint_of(address)}{asked}: {said}" + (f"; {remedy}" if remedy else "")

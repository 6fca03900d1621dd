"""Why an endpoint did not take what was sent to it, and what to do about it, in one line.

Loaded at the first failure. Of the endpoint's URL neither user nor query is told, and of its path
only what the protocol says: any other may hold a key.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace.http1 import Address
    from lambdatrace.redaction import Redaction

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
_MESSAGE_LENGTH_MAX = 200
# A shorter text is no key, and may be any word of a message.
_CREDENTIAL_LENGTH_MIN, _WORD_LENGTH_MIN = 6, 8
_BETWEEN_WORDS = str.maketrans("/&=", "   ")
_NO_CREDENTIALS = frozenset(
    ("user-agent", "content-type", "content-encoding", "x-aws-log-group", "x-aws-log-stream")
)
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


def told(
    said: bytes, address: Address, headers: Mapping[str, str], redaction: Redaction | None
) -> str:
    """The beginning of what an endpoint has `said`, without the secrets it may have echoed.

    They are the values of the request's `headers`, what of its URL is not told either, and what
    `redaction` finds; the built-in rules hold where there is none.
    """
    if redaction is None:
        from lambdatrace.redaction import Redaction

        redaction = Redaction()
    from lambdatrace.redaction import REDACTED

    text = said.decode("utf-8", "replace")
    for secret in sorted(_credentials(address, headers), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    text = redaction.text(text)[:_MESSAGE_LENGTH_MAX]
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _credentials(address: Address, headers: Mapping[str, str]) -> set[str]:
    """Texts that are none to be told, whole and in the parts that may come alone."""
    from urllib.parse import unquote

    path, _, query = address.path.partition("?")
    before = path[: path.rfind("/v1/")] if "/v1/" in path else path
    whole, words = [before, query], f"{before} {query}".translate(_BETWEEN_WORDS).split()
    whole += map(unquote, whole[:])
    words += map(unquote, words[:])
    for name, value in headers.items():
        if name.lower() not in _NO_CREDENTIALS:
            whole.append(value)
            for word in value.replace(",", " ").replace(";", " ").split():
                words += [word, word.partition("=")[2], _password(word)]
    return {
        *(text for text in whole if len(text) >= _CREDENTIAL_LENGTH_MIN),
        *(word for word in words if len(word) >= _WORD_LENGTH_MIN),
    }


def _password(word: str) -> str:
    """What HTTP's Basic scheme has behind the user's name (RFC 7617); empty if `word` is none."""
    from binascii import a2b_base64

    try:
        return a2b_base64(word).decode().partition(":")[2]
    except ValueError:
        return ""

"""What a span tells of an HTTP request, by OpenTelemetry's conventions for HTTP clients.

Source: OpenTelemetry semantic conventions, "HTTP client"; "URL" for what is redacted.
"""

from __future__ import annotations

from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterable
    from typing import Any

REDACTED = "REDACTED"
METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY")
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Server:
    """Whom requests go to; `address` is host and port, `root` the URL without a path."""

    __slots__ = ("address", "host", "port", "root")

    def __init__(self, scheme: str, host: str, port: int | None) -> None:
        self.host = host
        self.port = port
        self.address = f"{host}:{port or _DEFAULT_PORTS.get(scheme)}"
        shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
        authority = shown if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{shown}:{port}"
        self.root = f"{scheme}://{authority}"

    def url(self, target: str) -> str:
        """The URL of a request for `target`, which is one itself when it goes to a proxy."""
        is_url = target[:1] != "/" and "://" in target.partition("?")[0]
        return target if is_url else self.root + target


server_of = lru_cache(maxsize=64)(Server)  # made once for all requests to it


def span_name(method: str) -> str:
    """The method, when it is one of HTTP's; a URL would give each span a name of its own."""
    return method if method in METHODS else "HTTP"


def request_attributes(method: str, url: str, host: str, port: int | None) -> dict[str, Any]:
    """The attributes known before the request is sent; `url` has its secrets redacted."""
    is_known = method in METHODS
    attributes: dict[str, Any] = {
        "http.request.method": method if is_known else "_OTHER",
        "url.full": url,
        "server.address": host,
    }
    if port is not None:
        attributes["server.port"] = port
    if not is_known:
        attributes["http.request.method_original"] = method
    return attributes


def redact_url(url: str, secret_keys: Iterable[re.Pattern[str]] = ()) -> str:
    """`url` without its credentials and fragment, and without the values of secret parameters.

    Secret is what `secret_names.py` says, and what one of `secret_keys` finds in the name.
    """
    if "?" not in url and "@" not in url and "#" not in url:
        return url  # as most are
    url = url.partition("#")[0]
    start = url.find("://") + 3
    if start > 2:  # noqa: PLR2004 - there is a scheme
        ends = [at for at in (url.find("/", start), url.find("?", start)) if at >= 0]
        at_sign = url.rfind("@", start, min(ends, default=len(url)))
        if at_sign >= 0:
            shown = f"{REDACTED}:{REDACTED}" if ":" in url[start:at_sign] else REDACTED
            url = url[:start] + shown + url[at_sign:]
    path, mark, query = url.partition("?")
    if not query:
        return url
    parts = [_redact_parameter(part, secret_keys) for part in query.split("&")]
    return path + mark + "&".join(parts)


@lru_cache(maxsize=64)  # the same few come with each request
def _is_secret_name(name: str) -> bool:
    from lambdatrace.secret_names import is_secret_name

    return is_secret_name(name)


def _redact_parameter(parameter: str, secret_keys: Iterable[re.Pattern[str]]) -> str:
    name, equals, _ = parameter.partition("=")
    key = name
    if "%" in name:
        from urllib.parse import unquote

        key = unquote(name)
    is_secret = _is_secret_name(key) or any(p.search(key) for p in secret_keys)
    return f"{name}={REDACTED}" if equals and is_secret else parameter

"""HTTP: API Gateway REST (v1) and HTTP APIs (v2), function URLs, load balancers.

Sources: API Gateway Developer Guide, "Payload format version"; Elastic Load Balancing, "Lambda
functions as targets"; OpenTelemetry semantic conventions for HTTP servers.
"""

from __future__ import annotations

from lambdatrace.records import ERROR
from lambdatrace.triggers import Trigger, mapping, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.records import Span

_SERVER_ERROR_FIRST = 500
_STATUS_FIRST, _STATUS_LAST = 100, 599


def read(event: dict[str, Any]) -> Trigger | None:
    """The request in an event of API Gateway, a function URL or a load balancer."""
    request = mapping(event.get("requestContext"))
    headers = _headers(event)
    if "http" in request:
        method, path, route, query = _version_2(event, request)
    elif isinstance(event.get("httpMethod"), str):
        method, path, route, query = _version_1(event)
    else:
        return None
    attributes = {
        "http.request.method": method,
        "url.path": path,
        "url.query": query,
        "url.scheme": headers.get("x-forwarded-proto", "https"),
        "http.route": route,
        "user_agent.original": headers.get("user-agent", ""),
        "server.address": text(request.get("domainName")) or headers.get("host", ""),
        "client.address": _client_address(request, headers),
    }
    return Trigger(
        "http",
        {key: value for key, value in attributes.items() if value},
        name=f"{method} {route}" if route else method,
        carrier=headers,
    )


def read_response(response: Any, span: Span) -> str:
    """Note the status code of an answer in API Gateway's shape; a 5xx is an error, and given."""
    status = response.get("statusCode") if isinstance(response, dict) else None
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    if (
        isinstance(status, int)
        and not isinstance(status, bool)
        and _STATUS_FIRST <= status <= _STATUS_LAST
    ):
        span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR_FIRST:
            span.set_attribute("error.type", str(status))
            span.set_status(ERROR)
            return str(status)
    return ""


def _version_2(event: dict[str, Any], request: dict[Any, Any]) -> tuple[str, str, str, str]:
    http = mapping(request.get("http"))
    route_key = text(event.get("routeKey"))
    # "GET /pets/{id}"; "$default" and function URLs have no route of their own.
    route = route_key.partition(" ")[2]
    path = text(event.get("rawPath")) or text(http.get("path"))
    return text(http.get("method")), path, route, text(event.get("rawQueryString"))


def _version_1(event: dict[str, Any]) -> tuple[str, str, str, str]:
    parameters = mapping(event.get("multiValueQueryStringParameters")) or mapping(
        event.get("queryStringParameters")
    )
    query = "&".join(
        f"{key}={value}"
        for key, values in parameters.items()
        for value in (values if isinstance(values, list) else [values])
    )
    return (
        text(event.get("httpMethod")),
        text(event.get("path")),
        text(event.get("resource")),
        query,
    )


def _headers(event: dict[str, Any]) -> dict[str, str]:
    """Headers by lower-case name; of several values, the last."""
    headers: dict[str, str] = {}
    for key, value in mapping(event.get("headers")).items():
        if isinstance(value, str):
            headers[str(key).lower()] = value
    for key, values in mapping(event.get("multiValueHeaders")).items():
        if isinstance(values, list) and values and isinstance(values[-1], str):
            headers[str(key).lower()] = values[-1]
    return headers


def _client_address(request: dict[Any, Any], headers: dict[str, str]) -> str:
    source = mapping(request.get("http")).get("sourceIp") or mapping(request.get("identity")).get(
        "sourceIp"
    )
    return text(source) or headers.get("x-forwarded-for", "").partition(",")[0].strip()

"""Subscriptions of the Telemetry API, 2022-07-01, and the Logs API, 2020-08-15, without I/O.

    PUT /2022-07-01/telemetry     {"schemaVersion", "types", "buffering", "destination"}
    PUT /2020-08-15/logs          the same, without a schema version if one likes

An extension subscribes under its name, while an init runs; the subscription stays when the
environment is reset. The first answer is 200 "OK", the same request again 200 "AlreadySubscribed".
Source: AWS Lambda developer guide, "Lambda Telemetry API reference"; aws-lambda-runtime-interface-
emulator, `internal/lambda/rapi/handler`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from lambdatrace.harness import sandbox_network
from lambdatrace.harness.runtime_api import Answer, api_error
from lambdatrace.harness.telemetry_events import LOGS_SCHEMAS, TELEMETRY_SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Collection

TELEMETRY, LOGS = "Telemetry", "Logs"
TYPES = ("platform", "function", "extension")
RESERVED_PORT = 9001  # where the Runtime API listens on AWS
PORT_MAX = 65535
SUBSCRIBED, ALREADY_SUBSCRIBED = "Subscribed", "Already subscribed"


@dataclass(frozen=True)
class Buffering:
    """When what waits is sent: as soon as one of the three is reached."""

    max_items: int = 10_000
    max_bytes: int = 262_144
    timeout_ms: int = 1_000


# Least and most of each (developer guide, "Telemetry API": buffering).
BUFFERING_LIMITS = {
    "maxItems": (1_000, 10_000),
    "maxBytes": (262_144, 1_048_576),
    "timeoutMs": (25, 30_000),
}


@dataclass(frozen=True)
class Destination:
    """Where an extension listens. `path` and `method` are HTTP's; `host` is as it was named."""

    protocol: str
    host: str
    port: int
    path: str = "/"
    method: str = "POST"


@dataclass(frozen=True)
class Subscription:
    """What an extension wants, and how."""

    extension_name: str
    api: str
    schema: str
    types: tuple[str, ...]
    buffering: Buffering
    destination: Destination


class SubscriptionStep(NamedTuple):
    """What follows from a request: the answer, and, when it was taken, subscription and state."""

    answer: Answer
    subscription: Subscription | None = None
    state: str = ""


class RefusedError(Exception):
    """A request that is not taken, with the answer to give."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode())
        self.answer = answer


@dataclass
class TelemetryApi:
    """The subscriptions of one environment. `hosts` are the names a destination may have."""

    hosts: Collection[str] = sandbox_network.NAMES
    is_open: bool = True
    by_name: dict[str, Subscription] = field(default_factory=dict)

    def subscribe(self, extension_name: str, api: str, body: bytes) -> SubscriptionStep:
        """PUT of one of the two APIs by an extension that has registered."""
        if not self.is_open:
            message = f"{api} API subscription is closed"
            return SubscriptionStep(api_error(403, f"{api}.SubscriptionClosed", message))
        try:
            subscription = self._read(extension_name, api, body)
        except RefusedError as refusal:
            return SubscriptionStep(refusal.answer)
        known = self.by_name.get(extension_name)
        if known == subscription:
            return SubscriptionStep(
                Answer(200, b'"AlreadySubscribed"'), subscription, ALREADY_SUBSCRIBED
            )
        if known and known.api != api:
            message = f"The extension is subscribed to the {known.api} API already"
            return SubscriptionStep(api_error(403, f"{api}.SubscriptionClosed", message))
        self.by_name[extension_name] = subscription
        return SubscriptionStep(Answer(200, b'"OK"'), subscription, SUBSCRIBED)

    def _read(self, extension_name: str, api: str, body: bytes) -> Subscription:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _invalid(api, f"Invalid JSON: {error}") from error
        if not isinstance(document, dict):
            raise _invalid(api, "Expected a JSON object")
        schemas = TELEMETRY_SCHEMAS if api == TELEMETRY else LOGS_SCHEMAS
        schema = document.get("schemaVersion", LOGS_SCHEMAS[0] if api == LOGS else None)
        if schema is None:
            raise _invalid(api, "Missing field schemaVersion")
        if schema not in schemas:
            raise _invalid(api, f"Unsupported schemaVersion: expected {', '.join(schemas)}")
        return Subscription(
            extension_name,
            api,
            schema,
            _types(api, document.get("types")),
            _buffering(api, document.get("buffering")),
            self._destination(api, document.get("destination")),
        )

    def _destination(self, api: str, value: Any) -> Destination:
        if not isinstance(value, dict):
            raise _invalid(api, "Missing field destination")
        protocol = value.get("protocol")
        if protocol == "TCP":
            port = value.get("port")
            if type(port) is not int:
                raise _invalid(api, "destination.port: expected a number")
            return Destination("TCP", sandbox_network.NAMES[0], _port(api, port))
        if protocol != "HTTP":
            raise _unrecognized(api)
        method, encoding = value.get("method", "POST"), value.get("encoding", "JSON")
        if method not in ("POST", "PUT") or encoding != "JSON":
            raise _unrecognized(api)
        uri, port = _uri(api, value.get("URI"))
        host = uri.hostname or ""
        if host not in self.hosts:
            message = f"destination.URI host must be {sandbox_network.NAMES[0]}"
            raise RefusedError(api_error(403, "AccessDenied", message))
        path = (uri.path or "/") + (f"?{uri.query}" if uri.query else "")
        if not path.isascii() or not path.isprintable() or " " in path:
            raise _invalid(api, "destination.URI: expected printable ASCII")
        return Destination("HTTP", host, _port(api, port), path, method)


def _uri(api: str, value: Any) -> tuple[SplitResult, int]:
    """The URI and its port."""
    if not isinstance(value, str):
        raise _invalid(api, "Missing field destination.URI")
    try:
        uri = urlsplit(value)
        port = 80 if uri.port is None else uri.port
    except ValueError as error:
        raise _invalid(api, f"destination.URI: {error}") from error
    if uri.scheme != "http":
        raise _invalid(api, "destination.URI: expected http://sandbox.localdomain:PORT")
    return uri, port


def _types(api: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise _invalid(api, "types: expected a list of at least one type")
    if any(item not in TYPES for item in value):
        raise _unrecognized(api)  # a single event's name is none either
    return tuple(dict.fromkeys(value))


def _buffering(api: str, value: Any) -> Buffering:
    if value is None:
        return Buffering()
    if not isinstance(value, dict):
        raise _invalid(api, "buffering: expected an object")
    found: dict[str, int] = {}
    for name, (least, most) in BUFFERING_LIMITS.items():
        number = value.get(name)
        if number is None:
            continue
        if type(number) is not int or not least <= number <= most:
            raise _invalid(api, f"buffering.{name}: expected {least} to {most}")
        found[name] = number
    default = Buffering()
    return Buffering(
        found.get("maxItems", default.max_items),
        found.get("maxBytes", default.max_bytes),
        found.get("timeoutMs", default.timeout_ms),
    )


def _port(api: str, port: int) -> int:
    if not 1 <= port <= PORT_MAX or port == RESERVED_PORT:
        raise _invalid(api, f"destination: port {port} cannot be used")
    return port


def _invalid(api: str, message: str) -> RefusedError:
    return RefusedError(api_error(400, f"{api}.ValidationError", message))


def _unrecognized(api: str) -> RefusedError:
    return _invalid(api, "Unrecognized enum variant")

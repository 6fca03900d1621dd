from __future__ import annotations

import json
from typing import Any

import pytest

from lambdatrace.harness.runtime_api import Answer
from lambdatrace.harness.telemetry_api import (
    ALREADY_SUBSCRIBED,
    LOGS,
    SUBSCRIBED,
    TELEMETRY,
    Buffering,
    Destination,
    Subscription,
    TelemetryApi,
)

# As the OpenTelemetry Lambda collector's telemetryapireceiver subscribes.
OPENTELEMETRY: dict[str, Any] = {
    "schemaVersion": "2022-12-13",
    "types": ["platform", "function", "extension"],
    "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
    "destination": {
        "protocol": "HTTP",
        "method": "POST",
        "encoding": "JSON",
        "URI": "http://sandbox.localdomain:4325/",
    },
}
# As Datadog's extension does.
DATADOG: dict[str, Any] = {
    "schemaVersion": "2022-12-13",
    "types": ["extension", "function", "platform"],
    "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox:8999/"},
}


def body(document: dict[str, Any], **changes: Any) -> bytes:
    """The request with some fields changed, or left out where the change is None."""
    changed = {**document, **changes}
    return json.dumps({k: v for k, v in changed.items() if v is not None}).encode()


def error(answer: Answer) -> tuple[int, str, str]:
    document = json.loads(answer.body)
    return answer.status, document["errorType"], document["errorMessage"]


def test_the_subscriptions_of_opentelemetry_and_datadog_are_taken() -> None:
    api = TelemetryApi()
    first = api.subscribe("collector", TELEMETRY, body(OPENTELEMETRY))
    second = api.subscribe("datadog-agent", TELEMETRY, body(DATADOG))
    assert first == (
        Answer(200, b'"OK"'),
        Subscription(
            "collector",
            TELEMETRY,
            "2022-12-13",
            ("platform", "function", "extension"),
            Buffering(1000, 262144, 25),
            Destination("HTTP", "sandbox.localdomain", 4325, "/", "POST"),
        ),
        SUBSCRIBED,
    )
    assert second.answer == Answer(200, b'"OK"')
    assert second.subscription
    assert second.subscription.types == ("extension", "function", "platform")
    assert second.subscription.destination == Destination("HTTP", "sandbox", 8999)


def test_the_same_request_again_is_already_subscribed_and_another_one_replaces_it() -> None:
    api = TelemetryApi()
    api.subscribe("probe", TELEMETRY, body(OPENTELEMETRY))
    again = api.subscribe("probe", TELEMETRY, body(OPENTELEMETRY))
    other = api.subscribe("probe", TELEMETRY, body(OPENTELEMETRY, types=["platform"]))
    assert (again.answer, again.state) == (
        Answer(200, b'"AlreadySubscribed"'),
        ALREADY_SUBSCRIBED,
    )
    assert (other.answer, other.state) == (Answer(200, b'"OK"'), SUBSCRIBED)
    assert api.by_name["probe"].types == ("platform",)


def test_buffering_has_defaults_and_the_logs_api_a_default_schema() -> None:
    logs = body(OPENTELEMETRY, schemaVersion=None, buffering=None)
    tcp = body(OPENTELEMETRY, buffering={}, destination={"protocol": "TCP", "port": 4000})
    by_logs = TelemetryApi().subscribe("probe", LOGS, logs).subscription
    by_tcp = TelemetryApi().subscribe("probe", TELEMETRY, tcp).subscription
    assert by_logs
    assert by_tcp
    assert (by_logs.schema, by_logs.buffering) == ("2020-08-15", Buffering(10_000, 262_144, 1_000))
    assert by_tcp.buffering == Buffering(10_000, 262_144, 1_000)
    assert by_tcp.destination == Destination("TCP", "sandbox.localdomain", 4000)


@pytest.mark.parametrize("api", [TELEMETRY, LOGS])
def test_after_the_init_it_is_closed(api: str) -> None:
    step = TelemetryApi(is_open=False).subscribe("probe", api, body(OPENTELEMETRY))
    assert error(step.answer) == (
        403,
        f"{api}.SubscriptionClosed",
        f"{api} API subscription is closed",
    )


def test_an_extension_may_use_one_of_the_two_apis_only() -> None:
    api = TelemetryApi()
    api.subscribe("probe", LOGS, body(OPENTELEMETRY, schemaVersion="2021-03-18"))
    status, error_type, _ = error(api.subscribe("probe", TELEMETRY, body(OPENTELEMETRY)).answer)
    assert (status, error_type) == (403, "Telemetry.SubscriptionClosed")
    assert api.by_name["probe"].api == LOGS


HTTP = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4325"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"types": ["platform.report"]}, "Unrecognized enum variant"),
        ({"types": ["platform", 1]}, "Unrecognized enum variant"),
        ({"types": []}, "types: expected a list of at least one type"),
        ({"types": None}, "types: expected a list of at least one type"),
        ({"schemaVersion": None}, "Missing field schemaVersion"),
        (
            {"schemaVersion": "2020-08-15"},
            "Unsupported schemaVersion: expected 2022-07-01, 2022-12-13, 2025-01-29",
        ),
        (
            {"schemaVersion": []},
            "Unsupported schemaVersion: expected 2022-07-01, 2022-12-13, 2025-01-29",
        ),
        ({"destination": None}, "Missing field destination"),
        ({"destination": {"protocol": "UDP"}}, "Unrecognized enum variant"),
        ({"destination": {**HTTP, "method": "GET"}}, "Unrecognized enum variant"),
        ({"destination": {"protocol": "HTTP"}}, "Missing field destination.URI"),
        (
            {"destination": {**HTTP, "URI": "https://sandbox.localdomain:1"}},
            "destination.URI: expected http://sandbox.localdomain:PORT",
        ),
        (
            {"destination": {**HTTP, "URI": "http://sandbox.localdomain:x"}},
            "destination.URI: Port could not be cast to integer value as 'x'",
        ),
        (
            {"destination": {**HTTP, "URI": "http://sandbox.localdomain:1/a b"}},
            "destination.URI: expected printable ASCII",
        ),
        (
            {"destination": {**HTTP, "URI": "http://sandbox.localdomain:9001"}},
            "destination: port 9001 cannot be used",
        ),
        ({"destination": {"protocol": "TCP"}}, "destination.port: expected a number"),
        (
            {"destination": {"protocol": "TCP", "port": 0}},
            "destination: port 0 cannot be used",
        ),
        ({"buffering": []}, "buffering: expected an object"),
        ({"buffering": {"maxItems": 999}}, "buffering.maxItems: expected 1000 to 10000"),
        ({"buffering": {"maxItems": True}}, "buffering.maxItems: expected 1000 to 10000"),
        ({"buffering": {"maxBytes": 1}}, "buffering.maxBytes: expected 262144 to 1048576"),
        ({"buffering": {"timeoutMs": 30001}}, "buffering.timeoutMs: expected 25 to 30000"),
    ],
)
def test_what_is_wrong_with_a_request_is_a_validation_error(
    changes: dict[str, Any], message: str
) -> None:
    api = TelemetryApi()
    step = api.subscribe("probe", TELEMETRY, body(OPENTELEMETRY, **changes))
    assert error(step.answer) == (400, "Telemetry.ValidationError", message)
    assert api.by_name == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"types": 1}'])
def test_what_is_no_json_object_is_a_validation_error(content: bytes) -> None:
    status, error_type, _ = error(TelemetryApi().subscribe("probe", LOGS, content).answer)
    assert (status, error_type) == (400, "Logs.ValidationError")


def test_a_destination_outside_of_the_sandbox_is_denied() -> None:
    elsewhere = {"protocol": "HTTP", "URI": "http://example.com:80"}
    step = TelemetryApi().subscribe("probe", TELEMETRY, body(OPENTELEMETRY, destination=elsewhere))
    assert error(step.answer) == (
        403,
        "AccessDenied",
        "destination.URI host must be sandbox.localdomain",
    )

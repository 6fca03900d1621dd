from __future__ import annotations

import pytest

from lambdatrace.settings import TABLE, Settings


def test_without_any_variable_the_defaults_hold() -> None:
    settings = Settings.from_env({})
    assert {attribute: getattr(settings, attribute) for _, attribute, _, _, _ in TABLE} == {
        "is_disabled": False,
        "is_enabled": True,
        "handler": "",
        "service_name": "",
        "resource_attributes": {},
        "import_spans_min_ms": 0,
        "traces_exporter": "otlp",
        "sampler": "parentbased_always_on",
        "sampler_argument": "1.0",
        "keep_unsampled": (),
        "propagators": ("xray", "tracecontext", "baggage"),
        "metrics_exporter": "emf",
        "metrics_temporality": "delta",
        "metrics_histogram": "explicit_bucket_histogram",
        "metrics_exemplars": "trace_based",
        "metrics_namespace": "lambdatrace",
        "metrics_dimensions": {},
        "invocation_metrics": (),
        "injects_ids": True,
        "captured_log_level": "DEBUG",
        "log_level": "INFO",
        "debug_share": 0.0,
        "logs_event": False,
        "captures_payload": False,
        "payload_bytes_max": 4096,
        "patches": None,
        "payload_context": frozenset({"eventbridge"}),
        "redacts": True,
        "redacted_keys": (),
        "redacted_values": (),
        "otlp_endpoint": "http://localhost:4318",
        "otlp_traces_endpoint": "",
        "otlp_protocol": "http/protobuf",
        "otlp_headers": {},
        "otlp_compression": "none",
        "otlp_timeout_ms": 10000,
        "buffer_size_max": 2048,
        "batch_size_max": 512,
        "schedule_delay_ms": 1000,
    }
    assert settings.errors == []


def test_every_setting_is_declared_on_the_class() -> None:
    assert {attribute for _, attribute, _, _, _ in TABLE} == set(Settings.__annotations__)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OTEL_SDK_DISABLED", "yes", "OTEL_SDK_DISABLED is 'yes': expected true or false"),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "1.5",
            "OTEL_EXPORTER_OTLP_TIMEOUT is '1.5': expected a whole number from 1 to 1000000000",
        ),
        (
            "LAMBDATRACE_PATCHES",
            "botocore,redis",
            (
                "LAMBDATRACE_PATCHES is 'botocore,redis': expected all, none, or some of "
                "botocore, urllib3, requests, http.client"
            ),
        ),
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "0",
            "OTEL_BSP_MAX_QUEUE_SIZE is '0': expected a whole number from 1 to 1000000000",
        ),
        (
            "OTEL_TRACES_EXPORTER",
            "jaeger",
            "OTEL_TRACES_EXPORTER is 'jaeger': expected one of otlp, console, none",
        ),
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "9" * 30,
            (
                f"OTEL_BSP_MAX_QUEUE_SIZE is '{'9' * 30}': "
                "expected a whole number from 1 to 1000000000"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "localhost:4318",
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT is 'localhost:4318': expected http://HOST:PORT or "
                "https://HOST:PORT, credentials in the headers"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://user:secret@host/v1/traces",
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is '…': expected http://HOST:PORT or "
                "https://HOST:PORT, credentials in the headers"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a=%E2%82%AC",
            (
                "OTEL_EXPORTER_OTLP_HEADERS is '…': "
                "expected printable characters of ISO 8859-1 in keys and values"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a=1%0D%0Ab",
            (
                "OTEL_EXPORTER_OTLP_HEADERS is '…': "
                "expected printable characters of ISO 8859-1 in keys and values"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "secret",
            "OTEL_EXPORTER_OTLP_HEADERS is '…': expected key=value pairs between commas",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_the_default_taken(
    name: str, value: str, message: str
) -> None:
    settings = Settings.from_env({name: value})
    assert [str(error) for error in settings.errors] == [message]
    attribute = {row[0]: row[1] for row in TABLE}[name]
    assert getattr(settings, attribute) == getattr(Settings.from_env({}), attribute)


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_env({"OTEL_TRACES_EXPORTER": ""}).traces_exporter == "otlp"


def test_headers_are_percent_decoded_pairs() -> None:
    settings = Settings.from_env(
        {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20abc==, x-team = a%2Cb ,"}
    )
    assert settings.otlp_headers == {"authorization": "Basic abc==", "x-team": "a,b"}


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://localhost:4318/v1/traces"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://otlp.example/x/"},
            "https://otlp.example/x/v1/traces",
        ),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t.example/in"}, "https://t.example/in"),
    ],
)
def test_the_traces_url_follows_the_specification(environ: dict[str, str], url: str) -> None:
    assert Settings.from_env(environ).traces_url == url

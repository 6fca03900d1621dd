from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.exporter_settings import (
    EXPORTER_TABLE,
    SIGNAL_TABLE,
    SIGNALS,
    ExporterSettings,
    SignalSettings,
)
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS: dict[str, Any] = {
    "url": "http://localhost:4318/v1/traces",
    "protocol": "http/protobuf",
    "headers": {},
    "compression": "none",
    "timeout_ms": 10000,
    "certificate": "",
    "client_certificate": "",
    "client_key": "",
}


def of_traces(environ: dict[str, str]) -> dict[str, Any]:
    settings = ExporterSettings(environ).of("traces")
    return {name: getattr(settings, name) for name in SignalSettings.__slots__}


def errors(environ: dict[str, str]) -> list[str]:
    return [str(error) for error in ExporterSettings(environ).errors]


def test_without_any_variable_the_defaults_hold() -> None:
    settings = ExporterSettings({})
    assert of_traces({}) == DEFAULTS
    assert settings.urls == (
        "http://localhost:4318/v1/traces",
        "http://localhost:4318/v1/metrics",
        "http://localhost:4318/v1/logs",
    )
    assert (settings.sigv4, settings.log_batch_size_max) == ("auto", 512)
    assert settings.errors == []


def test_an_empty_variable_counts_as_unset() -> None:
    assert of_traces({name: "" for name, *_ in SIGNAL_TABLE}) == DEFAULTS


@pytest.mark.parametrize(
    ("variable", "value", "attribute", "read"),
    [
        ("PROTOCOL", "http/json", "protocol", "http/json"),
        ("HEADERS", "authorization=Basic%20abc==, x-team = a%2Cb ,", "headers", None),
        ("COMPRESSION", "GZIP", "compression", "gzip"),
        ("TIMEOUT", "1500", "timeout_ms", 1500),
    ],
)
def test_each_holds_for_all_signals_or_for_one_which_goes_before(
    variable: str, value: str, attribute: str, read: Any
) -> None:
    read = read or {"authorization": "Basic abc==", "x-team": "a,b"}
    general, own = f"OTEL_EXPORTER_OTLP_{variable}", f"OTEL_EXPORTER_OTLP_LOGS_{variable}"
    default = DEFAULTS[attribute]
    for environ, expected in (
        ({general: value}, [read, read, read]),
        ({own: value}, [default, default, read]),
        ({general: value, own: ""}, [read, read, read]),
    ):
        settings = ExporterSettings(environ)
        assert settings.errors == []
        assert [getattr(settings.of(signal), attribute) for signal in SIGNALS] == expected


def test_the_files_of_tls_are_paths_of_files_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("pem")
    for variable in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        name = f"OTEL_EXPORTER_OTLP_TRACES_{variable}"
        path = str(tmp_path / "ca.pem")
        assert of_traces({name: path}) == {**DEFAULTS, variable.lower(): path}
        assert errors({name: "/nowhere.pem"}) == [
            (
                f"{name} is '/nowhere.pem': "
                "expected the path of a readable PEM file (No such file or directory)"
                f"; taken: what OTEL_EXPORTER_OTLP_{variable} says"
            )
        ]


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://otlp.example/x/"},
            "https://otlp.example/x/v1/traces",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "https://otlp.example",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t.example/in",
            },
            "https://t.example/in",
        ),
    ],
)
def test_the_traces_url_follows_the_specification(environ: dict[str, str], url: str) -> None:
    assert of_traces(environ)["url"] == url


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", ("127.0.0.1", 2000)),
        ("169.254.79.129:2000", ("169.254.79.129", 2000)),
        ("tcp:127.0.0.1:2000 udp:127.0.0.2:2001", ("127.0.0.2", 2001)),
        ("udp:127.0.0.2:2001 tcp:127.0.0.1:2000", ("127.0.0.2", 2001)),
    ],
)
def test_the_daemons_address_is_read_in_both_forms(value: str, address: tuple[str, int]) -> None:
    assert ExporterSettings({"AWS_XRAY_DAEMON_ADDRESS": value}).daemon == address


def taken(name: str) -> str:
    """What a line says that is taken: the default, or for one signal what holds for all."""
    for signal in SIGNALS:
        if f"_{signal.upper()}_" in name:
            return f"what {name.replace(f'{signal.upper()}_', '')} says"
    return {row[0]: row[3] for row in EXPORTER_TABLE}[name] or "nothing"


URL = "expected http://HOST:PORT or https://HOST:PORT"
USER = "expected no user and password in the URL, but in the headers"
PORT = "expected a port from 1 to 65535"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "1.5",
            "'1.5': expected a whole number from 1 to 1000000000",
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", f"'localhost:4318': {URL}"),
        (
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
            "http://user:secret@host/v1/logs",
            f"'(hidden)@host': {USER}",
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:65536", f"'http://h:65536': {PORT}"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:0", f"'http://h:0': {PORT}"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h:99999/x", f"'http://h:99999/…': {PORT}"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:x#s3cr3t", f"'http://h:x/…': {PORT}"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:x?s3cr3t", f"'http://h:x/…': {PORT}"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://h#s3cr3t",
            (
                "'http://h/…': expected a path of ASCII letters without spaces, percent-encoded, "
                "and no fragment"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://otlp..example",
            "'https://otlp..example': expected 1 to 63 letters between a host's dots",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://öö..example",
            "'http://öö..example': expected a host's name that IDNA has",
        ),
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:65536", f"'127.0.0.1:65536': {PORT}"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a=%E2%82%AC",
            (
                "'a=(hidden)': expected printable characters of ISO 8859-1 in keys and values; "
                "what may be a secret is not shown here"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
            "a=1%0D%0Ab",
            (
                "'a=(hidden)': expected printable characters of ISO 8859-1 in keys and values; "
                "what may be a secret is not shown here"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-api-key=a1,s3cr3t,Ab12cd==",
            (
                "'x-api-key=(hidden),(hidden),(hidden)': expected key=value pairs between commas; "
                "what may be a secret is not shown here"
            ),
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "grpc",
            (
                "'grpc': expected http/protobuf or http/json; "
                "for gRPC use opentelemetry-exporter-otlp behind lambdatrace.otel"
            ),
        ),
        (
            "AWS_XRAY_DAEMON_ADDRESS",
            "tcp:127.0.0.1:2000",
            "'tcp:127.0.0.1:2000': expected HOST:PORT, or tcp:HOST:PORT udp:HOST:PORT",
        ),
        ("LAMBDATRACE_OTLP_SIGV4", "always", "'always': expected auto, true or false"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_once_and_the_default_taken(
    name: str, value: str, message: str
) -> None:
    assert errors({name: value}) == [f"{name} is {message}; taken: {taken(name)}"]
    assert of_traces({name: value}) == DEFAULTS


HEADERS = (
    "expected names of letters, digits and signs such as -, and none that each request has by "
    "itself, such as Host, Content-Length and Content-Type; what may be a secret is not shown here"
)


@pytest.mark.parametrize(
    ("refused", "shown"),
    [
        *((name, f"{name}=(hidden)") for name in ("Host", "content-length", "Transfer-Encoding")),
        *((name, f"{name}=(hidden)") for name in ("connection", "content-type", "TE")),
        ("é", "é=(hidden)"),
        *((name, "(hidden)") for name in ("a b", "x:y", "(a)", '"a"')),
    ],
)
def test_a_header_that_no_request_may_have_is_named_and_the_others_are_sent(
    refused: str, shown: str
) -> None:
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": f"api-key=s3cr3t,{refused}=other,user-agent=mine"}
    assert errors(environ) == [
        f"OTEL_EXPORTER_OTLP_HEADERS is '{shown}': {HEADERS}; taken: the others"
    ]
    assert of_traces(environ)["headers"] == {"api-key": "s3cr3t", "user-agent": "mine"}


def test_when_no_header_is_left_it_is_as_without_any() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s3cr3t",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "Host=a,te=b",
    }
    (error,) = errors(environ)
    assert error == (
        f"OTEL_EXPORTER_OTLP_TRACES_HEADERS is 'Host=(hidden),te=(hidden)': {HEADERS}; "
        "taken: what OTEL_EXPORTER_OTLP_HEADERS says"
    )
    assert of_traces(environ)["headers"] == {"api-key": "s3cr3t"}


def test_a_key_that_the_functions_init_has_fetched_counts_and_later_ones_do_not() -> None:
    environ = dict(ENVIRONMENT)
    telemetry = Telemetry(environ)
    environ["OTEL_EXPORTER_OTLP_HEADERS"] = "api-key=fetched"
    assert telemetry.exporters.of("traces").headers == {"api-key": "fetched"}
    environ["OTEL_EXPORTER_OTLP_HEADERS"] = "api-key=later"
    assert telemetry.exporters.of("traces").headers == {"api-key": "fetched"}


@pytest.mark.parametrize(
    ("value", "read"), [("AUTO", "auto"), ("1", "true"), ("Yes", "true"), ("off", "false")]
)
def test_whether_to_sign_is_auto_or_any_boolean(value: str, read: str) -> None:
    assert ExporterSettings({"LAMBDATRACE_OTLP_SIGV4": value}).sigv4 == read

from __future__ import annotations

import pytest

from lambdatrace.exporter_settings import EXPORTER_TABLE
from lambdatrace.settings import HANDLER, TABLE, Settings, boolean


def test_without_any_variable_the_defaults_hold() -> None:
    settings = Settings.from_env({})
    assert {attribute: getattr(settings, attribute) for _, attribute, _, _, _ in TABLE} == {
        "is_disabled": False,
        "is_enabled": True,
        "service_name": "",
        "resource_attributes": {},
        "import_spans_min_ms": 0,
        "keeps_journal": True,
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
        "instrumentations": (),
        "disabled_instrumentations": (),
        "patches": None,
        "payload_context": frozenset({"eventbridge"}),
        "redacts": True,
        "redacted_keys": (),
        "redacted_values": (),
        "logs_exporter": "none",
        "buffer_size_max": 2048,
        "batch_size_max": 512,
        "schedule_delay_ms": 1000,
        "log_buffer_size_max": 2048,
    }
    assert settings.errors == []


def test_every_setting_is_declared_on_the_class() -> None:
    assert {attribute for _, attribute, _, _, _ in TABLE} == set(Settings.__annotations__)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OTEL_SDK_DISABLED", "yes", "OTEL_SDK_DISABLED is 'yes': expected true or false"),
        (
            "LAMBDATRACE_ENABLED",
            "maybe",
            (
                "LAMBDATRACE_ENABLED is 'maybe': "
                "expected true or false, 1 or 0, yes or no, on or off"
            ),
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "team=a,stage",
            "OTEL_RESOURCE_ATTRIBUTES is 'team=a,stage': expected key=value pairs between commas",
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
            "OTEL_TRACES_EXPORTER is 'jaeger': expected one of otlp, xray, console, none",
        ),
        (
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
            "redis,b@d",
            (
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS is 'redis,b@d': expected names of "
                "instrumentors, as redis or aio-pika, between commas, or *"
            ),
        ),
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "9" * 30,
            (
                f"OTEL_BSP_MAX_QUEUE_SIZE is '{'9' * 30}': "
                "expected a whole number from 1 to 1000000000"
            ),
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_the_default_taken(
    name: str, value: str, message: str
) -> None:
    settings = Settings.from_env({name: value})
    [(attribute, default)] = [(row[1], row[3]) for row in TABLE if row[0] == name]
    taken = f"; taken: {default or 'nothing'}"
    assert [str(error) for error in settings.errors] == [message + taken]
    assert getattr(settings, attribute) == getattr(Settings.from_env({}), attribute)


@pytest.mark.parametrize("name", ["jaeger_remote", "parentbased_jaeger_remote", "xray"])
def test_a_sampler_that_asks_a_service_is_refused_with_what_is_taken_instead(name: str) -> None:
    settings = Settings.from_env({"OTEL_TRACES_SAMPLER": name})
    assert [str(error) for error in settings.errors] == [
        (
            f"OTEL_TRACES_SAMPLER is '{name}': expected one of always_on, always_off, "
            "traceidratio, parentbased_always_on, parentbased_always_off, "
            "parentbased_traceidratio; taken: parentbased_always_on"
        )
    ]
    assert settings.sampler == "parentbased_always_on"


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_env({"OTEL_TRACES_EXPORTER": ""}).traces_exporter == "otlp"


BOOLEANS = sorted({name for name, _, parse, _, _ in TABLE if parse is boolean})


@pytest.mark.parametrize("name", BOOLEANS)
def test_a_switch_takes_the_words_people_write(name: str) -> None:
    attribute = {row[0]: row[1] for row in TABLE}[name]

    def read(value: str) -> bool:
        settings = Settings.from_env({name: value})
        assert settings.errors == []
        found: bool = getattr(settings, attribute)
        return found

    assert {read(value) for value in ("true", "True", "1", "yes", "ON", "y", "t")} == {True}
    assert {read(value) for value in ("false", "FALSE", "0", "no", "Off", "n", "f")} == {False}


def test_the_switches_are_all_but_opentelemetrys_own() -> None:
    assert BOOLEANS == [
        "LAMBDATRACE_CAPTURE_PAYLOAD",
        "LAMBDATRACE_ENABLED",
        "LAMBDATRACE_JOURNAL",
        "LAMBDATRACE_LOGS_INJECTION",
        "LAMBDATRACE_LOG_EVENT",
        "LAMBDATRACE_REDACTION",
    ]


@pytest.mark.parametrize(
    ("value", "is_disabled", "errors"),
    [("TRUE", True, 0), ("False", False, 0), ("1", False, 1), ("yes", False, 1), ("", False, 0)],
)
def test_only_true_disables_opentelemetry(value: str, is_disabled: bool, errors: int) -> None:
    settings = Settings.from_env({"OTEL_SDK_DISABLED": value})
    assert (settings.is_disabled, len(settings.errors)) == (is_disabled, errors)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        (
            "LAMBDATRACE_SAMPLE_RATE",
            "OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG",
        ),
        ("LAMBDATRACE_SERVICE_NAME", "OTEL_SERVICE_NAME"),
        ("LAMBDATRACE_REDACT_KEY", "LAMBDATRACE_REDACT_KEYS"),
        ("LAMBDATRACE_LOGLEVEL", "LAMBDATRACE_LOG_LEVEL"),
        ("LAMBDATRACE_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("LAMBDATRACE_OTLP_SIGV", "LAMBDATRACE_OTLP_SIGV4"),
        ("LAMBDATRACE_enabled", "LAMBDATRACE_ENABLED"),
    ],
)
def test_a_variable_that_is_named_like_ours_and_is_none_is_said_with_the_nearest(
    name: str, nearest: str
) -> None:
    settings = Settings.from_env({name: "sk-1234", "LAMBDATRACE_TEST_STORE": "x", "PATH": "/bin"})
    assert [str(error) for error in settings.errors] == [
        f"{name} is no setting: did you mean {nearest}?"
    ]


def test_of_a_variable_that_is_like_no_setting_the_list_is_named() -> None:
    settings = Settings.from_env({"LAMBDATRACE_XYZZY": "1"})
    assert [str(error) for error in settings.errors] == [
        "LAMBDATRACE_XYZZY is no setting: see the README's table of settings"
    ]


def test_no_setting_of_ours_is_unknown() -> None:
    names = [HANDLER[0], *(row[0] for row in (*TABLE, *EXPORTER_TABLE))]
    assert Settings.from_env(dict.fromkeys(names, "")).errors == []

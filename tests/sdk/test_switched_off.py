from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

from lambdatrace import switched_off
from lambdatrace.span_scope import SpanHandle

PROBE = """
import json, sys
import awslambdaric.bootstrap
before = set(sys.modules)
import lambdatrace

def handler(event, context):
    with lambdatrace.span("work", attributes={"a": 1}) as span:
        span.set_attribute("b", 2)
        lambdatrace.current_span().add_event("seen")
        lambdatrace.metric("Orders", 1, unit="Count")
    return [span.trace_id, list(lambdatrace.messages(event)), lambdatrace.flush()]

assert lambdatrace.instrument(handler) is handler
assert lambdatrace.instrument(capture_payload=True)(handler) is handler
assert lambdatrace.span(handler) is handler
assert lambdatrace.span("name")(handler) is handler
assert handler({"Records": [1, 2]}, None) == ["0" * 32, [1, 2], True]
assert handler(None, None) == ["0" * 32, [], True]
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def probe(script: str, environment: dict[str, str]) -> list[str]:
    """What the script prints last, from a fresh process."""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"AWS_LAMBDA_FUNCTION_NAME": "orders", "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stderr == ""
    loaded: list[str] = json.loads(result.stdout.splitlines()[-1])
    return loaded


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_SDK_DISABLED": "TRUE", "LAMBDATRACE_IMPORT_SPANS_MIN_MS": "5"},
        {"LAMBDATRACE_ENABLED": "False"},
        {"LAMBDATRACE_ENABLED": "0"},
        {"LAMBDATRACE_ENABLED": "No"},
        {"LAMBDATRACE_ENABLED": "off"},
    ],
)
def test_switched_off_nothing_is_loaded_and_nothing_done(environment: dict[str, str]) -> None:
    assert probe(PROBE, environment) == ["lambdatrace", "lambdatrace.switched_off"]


def test_switched_off_the_redirect_gives_the_functions_own_handler() -> None:
    script = """
import json, sys
import awslambdaric.bootstrap
before = set(sys.modules)
from lambdatrace.auto import handler
assert handler is json.loads
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    environment = {"OTEL_SDK_DISABLED": "true", "LAMBDATRACE_HANDLER": "json.loads"}
    assert probe(script, environment) == [
        "lambdatrace",
        "lambdatrace.auto",
        "lambdatrace.switched_off",
    ]


def test_a_value_that_is_neither_true_nor_false_is_for_the_settings_to_judge() -> None:
    script = """
import json, sys
import lambdatrace
lambdatrace.span("work")
print(json.dumps("lambdatrace.telemetry" in sys.modules))
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"AWS_LAMBDA_FUNCTION_NAME": "orders", "LAMBDATRACE_ENABLED": "maybe", "PATH": "/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout == "true\n"


def test_no_span_has_all_that_a_span_handle_has() -> None:
    for name in vars(SpanHandle):
        if not name.startswith("_"):
            expected, found = getattr(SpanHandle, name), getattr(switched_off.NoSpan, name)
            if callable(expected):
                assert inspect.signature(found) == inspect.signature(expected), name

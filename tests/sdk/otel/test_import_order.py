"""In whatever order libraries and OpenTelemetry are imported, all doors are attached."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

LIBRARIES = {
    "redis": "RedisInstrumentor",
    "psycopg": "PsycopgInstrumentor",
    "requests": "RequestsInstrumentor",
    "botocore": "BotocoreInstrumentor",
}
ORDERS = [
    (otel,)
    for otel in ("opentelemetry.metrics", "opentelemetry._logs", "opentelemetry.sdk.metrics")
] + [
    order
    for library in LIBRARIES
    for otel in (
        "opentelemetry.trace",
        "opentelemetry.context",
        "opentelemetry.sdk.trace",
        f"opentelemetry.instrumentation.{library}",
    )
    for order in ((library, otel), (otel, library))
]

# What a function is: the doors are armed, then its imports come.
PROGRAM = """
import json, sys
from importlib import import_module
from lambdatrace import telemetry

current = telemetry.current()
current.start_extension()
for name in json.loads(sys.argv[1]):
    import_module(name)
from opentelemetry import metrics, trace

on = []
for library, name in json.loads(sys.argv[2]).items():
    instrumentor = sys.modules.get(f"opentelemetry.instrumentation.{library}")
    if instrumentor and getattr(instrumentor, name)().is_instrumented_by_opentelemetry:
        on.append(library)
counter = metrics.get_meter("a").create_counter("b")
print(json.dumps([
    current.guard.failures,
    type(trace.get_tracer("a").start_span("b")).__module__,
    type(counter._real_instrument).__module__,
    on,
]))
"""


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_every_door_is_attached(order: tuple[str, ...]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(order), json.dumps(LIBRARIES)],
        env={
            **os.environ,
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "LAMBDATRACE_INSTRUMENTATIONS": ",".join(LIBRARIES),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    failures, spans, counters, instrumented = json.loads(result.stdout)
    assert failures == 0, result.stderr
    assert spans == "lambdatrace.otel.spans"
    assert counters == "lambdatrace.otel.metrics"
    assert {name for name in order if name in LIBRARIES} <= set(instrumented)

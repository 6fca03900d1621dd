"""What one call costs inside a handler: a child span, a metric, a log line; beside its peers.

    python -m benchmarks.calls [--rounds 7] [--calls 300]

Each variant runs in fresh processes in turn, inside an invocation that has begun; a round has as
many calls as a busy invocation makes. Shown is the median of their means in µs: what the handler
waits for, not what is done after the response.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

VARIANTS = {
    "lambdatrace span": """
import lambdatrace
from lambdatrace.testing import LambdaContext

def run():
    with lambdatrace.span("charge card"):
        pass

@lambdatrace.instrument
def handler(event, context):
    if event:
        measure(run)

def begin():
    handler({}, LambdaContext())  # the first is not as all others are: it opens and loads
    lambdatrace.flush()
    handler({"measure": True}, LambdaContext())
""",
    "lambdatrace metric": """
import lambdatrace
from lambdatrace.testing import LambdaContext

def run():
    lambdatrace.metric("OrdersPlaced", 1, unit="Count", dimensions={"tier": "gold"})

@lambdatrace.instrument
def handler(event, context):
    if event:
        measure(run)

def begin():
    handler({}, LambdaContext())  # the first is not as all others are: it opens and loads
    lambdatrace.flush()
    handler({"measure": True}, LambdaContext())
""",
    "OpenTelemetry SDK span": """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

class Nowhere(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Nowhere()))
tracer = provider.get_tracer("benchmark")

def run():
    with tracer.start_as_current_span("charge card"):
        pass

def begin():
    measure(run)
""",
    "OpenTelemetry SDK counter": """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

counter = MeterProvider([InMemoryMetricReader()]).get_meter("benchmark").create_counter("orders")

def run():
    counter.add(1, {"tier": "gold"})

def begin():
    measure(run)
""",
    "Powertools metric": """
from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

metrics = Metrics(namespace="shop", service="orders")

def run():
    metrics.add_metric(name="OrdersPlaced", unit=MetricUnit.Count, value=1)

def begin():
    measure(run)
""",
    "aws_xray_sdk subsegment": """
from aws_xray_sdk.core import xray_recorder

def run():
    with xray_recorder.in_subsegment("charge card"):
        pass

def begin():
    xray_recorder.configure(sampling=False, context_missing="IGNORE_ERROR")
    xray_recorder.begin_segment("orders")
    measure(run)
""",
}

HARNESS = """
import contextlib, io, sys, time

def measure(run):
    for _ in range(200):
        run()
    start = time.perf_counter_ns()
    for _ in range({calls}):
        run()
    print((time.perf_counter_ns() - start) / {calls} / 1000, file=sys.__stdout__)

{source}
with contextlib.redirect_stdout(io.StringIO()):
    begin()
    begin()  # in an environment that has had as busy an invocation: its memory has been touched
"""

ENVIRONMENT = {
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",  # nobody listens; with one there is a journal
    "AWS_LAMBDA_FUNCTION_NAME": "orders",
    "OTEL_TRACES_EXPORTER": "none",  # the sending has a benchmark of its own: cold_start
    "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
}

BARS = {"lambdatrace span": 5.0, "lambdatrace metric": 3.0}


def measure(rounds: int, calls: int) -> dict[str, float]:
    """Medians in µs."""
    samples: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant, source in VARIANTS.items():
            program = HARNESS.format(calls=calls, source=source)
            process = subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, **ENVIRONMENT},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            samples[variant].append(float(process.stdout.split()[-1]))
    return {variant: statistics.median(values) for variant, values in samples.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    for variant, us in measure(arguments.rounds, arguments.calls).items():
        bar = BARS.get(variant)
        verdict = f"  (bar {bar} µs): {'met' if us <= bar else 'MISSED'}" if bar else ""
        print(f"{variant:28}{us:8.2f} µs{verdict}")


if __name__ == "__main__":
    main()

"""Metrics of the invocations themselves, each counted only if LAMBDATRACE_INVOCATION_METRICS asks.

With `emf` they have CloudWatch's kind of name, unit and dimensions, as Powertools has for its
ColdStart: `service` and `function_name`. With `otlp` they are the instruments of OpenTelemetry's
semantic conventions ("FaaS metrics"), and two of our own where those have none.
"""

from __future__ import annotations

from os import uname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from lambdatrace.invocation import Function
    from lambdatrace.metrics import MetricRecorder
    from lambdatrace.outcome import InvocationOutcome
    from lambdatrace.telemetry import Telemetry

_UNITS = {"Duration": "Milliseconds", "InitDuration": "Milliseconds", "EstimatedCost": "None"}

# Kind, name and unit in OpenTelemetry, and how many of ours make one of that unit.
_INSTRUMENTS = {
    "ColdStart": ("counter", "faas.coldstarts", "{coldstart}", 1),
    "Errors": ("counter", "faas.errors", "{error}", 1),
    "Duration": ("histogram", "faas.invoke_duration", "s", 1000),
    "InitDuration": ("histogram", "faas.init_duration", "s", 1000),
    "Timeouts": ("counter", "faas.timeouts", "{timeout}", 1),
    "BatchItemFailures": ("counter", "lambdatrace.batch_item_failures", "{item}", 1),
    "EstimatedCost": ("counter", "lambdatrace.estimated_cost", "{USD}", 1),
}
# The semantic conventions' boundaries for durations in seconds.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

# USD in us-east-1 and most regions, first tier, without the free tier. Source: AWS Lambda pricing,
# as AWS's Price List API gives it: `Request`, `Lambda-GB-Second`, `Lambda-Provisioned-GB-Second`
# (the duration where concurrency is provisioned), and each with `-ARM`. The init is billed since
# August 2025 (AWS Compute Blog, "AWS Lambda standardizes billing for INIT Phase").
USD_PER_REQUEST = 0.20 / 1_000_000
USD_PER_GB_S = {"x86_64": 0.0000166667, "aarch64": 0.0000133334}
PROVISIONED_USD_PER_GB_S = {"x86_64": 0.0000097222, "aarch64": 0.0000077778}

_NS_PER_MS = 1_000_000
_BYTES_PER_GB = 1024**3


def measure(
    outcome: InvocationOutcome, function: Function, machine: str, wanted: Collection[str]
) -> dict[str, float]:
    """The `wanted` metrics of one invocation by name, durations in ms, cost in USD.

    Errors is 0 or 1, so that its average is the rate. ColdStart, Timeouts and BatchItemFailures are
    there only when there is something to count, InitDuration when the caller waited for an init.
    """
    values: dict[str, float] = {
        "Errors": 1 if outcome.error_type else 0,
        "Duration": outcome.duration_ns / _NS_PER_MS,
    }
    if outcome.is_cold_start:
        values["ColdStart"] = 1
    if outcome.init_ns:
        values["InitDuration"] = outcome.init_ns / _NS_PER_MS
    if outcome.is_timed_out:
        values["Timeouts"] = 1
    if outcome.batch_item_failures:
        values["BatchItemFailures"] = outcome.batch_item_failures
    cost = estimated_cost(outcome, function, machine)
    if cost is not None:
        values["EstimatedCost"] = cost
    return {name: value for name, value in values.items() if name in wanted}


def estimated_cost(outcome: InvocationOutcome, function: Function, machine: str) -> float | None:
    """What Lambda charges for this invocation in USD, about; None where it is not charged by time.

    The request, and the duration in whole ms by memory, that of the init included if the caller
    waited for it. Not in it: storage beyond 512 MB, whose size a function is not told, provisioned
    concurrency by itself, which costs without invocations too, SnapStart's cache and restores, what
    extensions take after the response. Other regions and tiers have other prices.
    """
    kind = function.initialization_type
    if kind == "lambda-managed-instances":
        return None
    prices = PROVISIONED_USD_PER_GB_S if kind == "provisioned-concurrency" else USD_PER_GB_S
    billed_ms = -(-(outcome.duration_ns + outcome.init_ns) // _NS_PER_MS)  # rounded up
    gb_s = billed_ms / 1000 * function.memory_bytes / _BYTES_PER_GB
    return USD_PER_REQUEST + gb_s * prices.get(machine, prices["x86_64"])


def record_outcome(
    telemetry: Telemetry, outcome: InvocationOutcome, recorder: MetricRecorder | None = None
) -> None:
    """Record the metrics of one invocation where its own metrics go.

    For one of a process that is gone, `recorder` is its own, and the time is that of its end.
    """
    settings = telemetry.settings
    wanted = settings.invocation_metrics
    values = measure(outcome, telemetry.function, uname().machine, wanted)
    if settings.metrics_exporter == "otlp":
        for name, value in values.items():
            kind, instrument, unit, per_unit = _INSTRUMENTS[name]
            telemetry.instruments.instrument(
                kind, instrument, unit, advisory=_SECONDS if unit == "s" else None
            ).record(value if per_unit == 1 else value / per_unit)
        return
    ended_ms = outcome.end_ns // _NS_PER_MS if recorder is not None else None
    if recorder is None:
        recorder = telemetry.metering.recorder_of(outcome.spans)
    dimensions = {"function_name": telemetry.function.name}
    for name, value in values.items():
        recorder.record(name, value, _UNITS.get(name, "Count"), dimensions, timestamp=ended_ms)

"""A local AWS Lambda: real Python functions on the real runtime client, freeze included."""

from __future__ import annotations

from lambdatrace.harness.clock import VirtualClock
from lambdatrace.harness.errors import (
    FunctionConfigurationError,
    HarnessError,
    HarnessSettingsError,
    HarnessStateError,
    InvokeError,
    LaunchError,
    PortInUseError,
)
from lambdatrace.harness.event_invoke_config import EventInvokeConfig
from lambdatrace.harness.function import Function
from lambdatrace.harness.harness import EnvironmentState, Harness, InvokeResult
from lambdatrace.harness.invocation import InvocationFacts
from lambdatrace.harness.log_stream import LogEvent
from lambdatrace.harness.logging_config import LoggingConfig

__all__ = [
    "EnvironmentState",
    "EventInvokeConfig",
    "Function",
    "FunctionConfigurationError",
    "Harness",
    "HarnessError",
    "HarnessSettingsError",
    "HarnessStateError",
    "InvocationFacts",
    "InvokeError",
    "InvokeResult",
    "LaunchError",
    "LogEvent",
    "LoggingConfig",
    "PortInUseError",
    "VirtualClock",
]

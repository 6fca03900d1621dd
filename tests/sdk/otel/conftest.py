"""OpenTelemetry's API as a process has it that imports it afresh, with our doors before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import opentelemetry._logs
import opentelemetry.metrics
import opentelemetry.trace
import pytest
from opentelemetry._logs import _internal as logs_internal
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.util._once import Once

from lambdatrace.otel import logs, metrics, traces
from lambdatrace.testing import Recorded, recording

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    traces.attach(opentelemetry.trace)
    logs.attach(opentelemetry._logs)
    monkeypatch.setattr(logs_internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(logs_internal, "_LOGGER_PROVIDER_SET_ONCE", Once())
    metrics.attach(opentelemetry.metrics)
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER_SET_ONCE", Once())
    proxies = metrics_internal._ProxyMeterProvider()
    monkeypatch.setattr(metrics_internal, "_PROXY_METER_PROVIDER", proxies)
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as recorded:
        yield recorded

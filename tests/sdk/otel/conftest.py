"""OpenTelemetry's API as a process has it that imports it afresh, with our doors before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import opentelemetry.trace
import pytest
from opentelemetry.util._once import Once

from lambdatrace.otel import traces
from lambdatrace.testing import Recorded, recording

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    traces.attach(opentelemetry.trace)
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as recorded:
        yield recorded

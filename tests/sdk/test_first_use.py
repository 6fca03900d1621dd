from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace import exporter_settings, pipelines, redaction
from lambdatrace.records import Span, SpanContext
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT, MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 4
ASKED: dict[str, tuple[Any, str, Callable[[Telemetry], object]]] = {
    "exporters": (exporter_settings, "ExporterSettings", lambda current: current.exporters),
    "redaction": (redaction, "Redaction", lambda current: current.redaction),
    "pipelines": (pipelines, "Pipelines", lambda current: current.delivery.pipelines),
    "sender": (pipelines, "Sender", lambda current: current.delivery.sender),
}


@pytest.mark.parametrize("what", ASKED)
def test_threads_that_ask_first_at_the_same_time_get_the_same_one(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, ask = ASKED[what]
    made: list[object] = []
    make = getattr(module, name)

    def make_slowly(*arguments: Any, **keywords: Any) -> object:
        time.sleep(0.05)  # the others ask meanwhile
        made.append(make(*arguments, **keywords))
        return made[-1]

    monkeypatch.setattr(module, name, make_slowly)
    telemetry = Telemetry(ENVIRONMENT, sink=MemorySink())
    telemetry.buffer.append(Span("s", SpanContext("1" * 32, "2" * 16), None, 1))
    asking = threading.Barrier(THREADS)
    got: list[object] = []

    def run() -> None:
        asking.wait(10)
        got.append(ask(telemetry))

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
    assert got == made * THREADS

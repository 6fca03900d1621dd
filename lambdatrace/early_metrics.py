"""Metrics that a signal handler records while the modules that record them are being loaded.

The handler runs in the midst of the import that the first metric began, and finds half a module.
"""

from __future__ import annotations

from collections import deque
from sys import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.metering import Metering
    from lambdatrace.telemetry import Telemetry

_RECORDING = ("lambdatrace.metering", "lambdatrace.metrics")
COUNT_MAX = 1_000  # loading takes milliseconds

_waiting: deque[tuple[Telemetry, InvocationSpans, tuple[Any, ...]]] = deque()


def keep(current: Telemetry, given: tuple[Any, ...]) -> bool:
    """Keep a metric until it can be recorded; False if nothing is being loaded, or many wait."""
    is_loading = any(
        getattr(getattr(modules.get(name), "__spec__", None), "_initializing", False)
        for name in _RECORDING
    )
    if not is_loading or len(_waiting) >= COUNT_MAX:
        return False
    _waiting.append((current, current.tracer.spans(), given))
    return True


def record_kept(metering: Metering) -> None:
    """Record what was kept, in the invocation that it is of, as if it were given now."""
    while True:
        try:
            current, spans, given = _waiting.popleft()
        except IndexError:
            return
        if current.metering is metering:
            current.guard.run(metering.recorder_of(spans).record, *given)

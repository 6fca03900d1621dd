"""Tracing, metrics and cold-start timing for Python on AWS Lambda.

Names are loaded at their first use: importing the package alone costs next to nothing.
"""

from __future__ import annotations

from os import environ as _environ
from time import time_ns as _time_ns

__version__ = "0.1.0"

# When the function's module began to import us, in Unix time: the first it tells of its own import.
_imported_ns = _time_ns()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.handler import instrument as instrument
    from lambdatrace.recording import current_span as current_span
    from lambdatrace.recording import flush as flush
    from lambdatrace.recording import messages as messages
    from lambdatrace.recording import metric as metric
    from lambdatrace.recording import span as span

__all__ = ["current_span", "flush", "instrument", "messages", "metric", "span"]

_HOMES = {"instrument": "lambdatrace.handler"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'lambdatrace' has no attribute {name!r}")
    from importlib import import_module

    if name == "instrument":
        # Registering the extension takes a round trip: it runs beside the imports that follow.
        from lambdatrace import telemetry

        telemetry.current().start_extension()
    value = getattr(import_module(_HOMES.get(name, "lambdatrace.recording")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if "LAMBDATRACE_IMPORT_SPANS_MIN_MS" in _environ:
    # What the function imports after us is timed only if we are there now, not at the first use.
    from lambdatrace import telemetry as _telemetry

    _telemetry.current()

"""Tracing, metrics and cold-start timing for Python on AWS Lambda.

Names are loaded at their first use: importing the package alone costs next to nothing.
"""

from __future__ import annotations

import sys as _sys
from os import environ as _environ
from time import time_ns as _time_ns

__version__ = "0.1.0"

# When the function's module began to import us, in Unix time: the first it tells of its own import.
_imported_ns = _time_ns()

# Whether this is a layer for other Pythons, which says so here: it has only what does nothing.
_is_bare: bool = globals().get("_is_bare", False)

OFF = frozenset(("false", "0", "no", "off", "n", "f"))  # what a setting is switched off with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.handler import instrument as instrument
    from lambdatrace.logs.logger import logger as logger
    from lambdatrace.recording import current_span as current_span
    from lambdatrace.recording import flush as flush
    from lambdatrace.recording import messages as messages
    from lambdatrace.recording import metric as metric
    from lambdatrace.recording import span as span
    from lambdatrace.recording import statistics as statistics

__all__ = [
    "current_span",
    "flush",
    "instrument",
    "logger",
    "messages",
    "metric",
    "span",
    "statistics",
]

_HOMES = {"instrument": "lambdatrace.handler", "logger": "lambdatrace.logs.logger"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'lambdatrace' has no attribute {name!r}")
    from importlib import import_module

    if is_switched_off() and (name != "logger" or _is_bare):
        from lambdatrace import switched_off

        return getattr(switched_off, name)
    if name == "instrument":
        # Registering the extension takes a round trip: it runs beside the imports that follow.
        from lambdatrace import telemetry

        telemetry.current().start_extension()
    value = getattr(import_module(_HOMES.get(name, "lambdatrace.recording")), name)
    globals()[name] = value
    return value


def is_switched_off() -> bool:
    """Whether the environment switches all of it off, or a layer for another Python, unloaded.

    Settings that are read another way, as a test's, are for what loads then to decide.
    """
    if "lambdatrace.telemetry" in _sys.modules:
        return False
    if _is_bare:
        return True
    return (
        _environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or _environ.get("LAMBDATRACE_ENABLED", "").lower() in OFF
    )


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name[:2] == "__")])


def _complete_log_records() -> None:
    """From now on records of `logging` have the trace's ids, None until something sets them.

    In every state, switched off too: a format with `%(trace_id)s` raises where there is none, and
    with the runtime's handler that is the invocation's error. Not by a record factory, since a call
    with `extra={"trace_id": …}` would raise then. Where `logging` is not loaded yet, it stays so.
    """
    logger_class: Any = getattr(_sys.modules.get("logging"), "Logger", None)
    call_handlers = getattr(logger_class, "callHandlers", None)
    if call_handlers is None or getattr(call_handlers, "__module__", None) == __name__:
        return

    def complete(logger: Any, record: Any) -> None:
        fields = record.__dict__
        fields.setdefault("trace_id")
        fields.setdefault("span_id")
        fields.setdefault("trace_flags")
        call_handlers(logger, record)

    logger_class.callHandlers = complete


_complete_log_records()


if "LAMBDATRACE_IMPORT_SPANS_MIN_MS" in _environ and not is_switched_off():
    # What the function imports after us is timed only if we are there now, not at the first use.
    from lambdatrace import telemetry as _telemetry

    _telemetry.current()

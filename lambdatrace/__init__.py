"""Tracing, metrics and cold-start timing for Python on AWS Lambda.

Names are loaded at their first use: importing the package alone costs next to nothing.
"""

from __future__ import annotations

import sys as _sys
from _frozen_importlib import ModuleSpec
from os import environ as _environ
from time import time_ns as _time_ns

__version__ = "0.1.0"

# When the function's module began to import us, in Unix time: the first it tells of its own import.
_imported_ns = _time_ns()

OFF = frozenset(("false", "0", "no", "off", "n", "f"))  # what a setting is switched off with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
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


class _Bundle:
    """A finder and loader of our own modules, from the bytecode that a layer has.

    It takes a third off their import: one file is read instead of twenty. What a cold start does
    not load is in a second file, opened for the first of it, and unmarshalled one by one.
    """

    def __init__(self, codes: dict[str, tuple[CodeType | bytes, bool]]) -> None:
        self._codes = codes
        self._is_complete = False

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """The spec of a module that is in the bundle."""
        if name not in self._codes and name.startswith("lambdatrace.") and not self._is_complete:
            self._is_complete = True
            self._codes.update(_read_bundle(".rest") or {})
        if name not in self._codes:
            return None
        is_package = self._codes[name][1]
        path = f"{__path__[0]}/{name.partition('.')[2].replace('.', '/')}"
        loader: Any = self
        origin = f"{path}/__init__.py" if is_package else f"{path}.py"
        spec = ModuleSpec(name, loader, origin=origin, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [path]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: the import system makes it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        code = self._codes[module.__name__][0]
        if isinstance(code, bytes):
            from marshal import loads

            code = loads(code)  # noqa: S302 - bytecode, as in a .pyc file
        exec(code, module.__dict__)  # noqa: S102 - as a loader does


def _read_bundle(suffix: str) -> dict[str, tuple[CodeType | bytes, bool]] | None:
    path = f"{__path__[0]}/bundles/{_sys.implementation.cache_tag}{suffix}"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs 2.8 ms
            content = file.read()
    except OSError:
        return None  # no layer, or one without this Python: the sources are there
    magic: bytes = _sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
    if not content.startswith(magic):
        return None
    from marshal import loads

    codes: dict[str, tuple[CodeType | bytes, bool]] = loads(content[len(magic) :])  # noqa: S302 - see above
    return codes


def _open_bundle() -> bool:
    """Load from the bundle if there is one; False if there is nothing at all for this Python."""
    codes = _read_bundle("")
    if codes is not None:
        finder: Any = _Bundle(codes)
        _sys.meta_path.insert(0, finder)
        return True
    from os import listdir
    from os.path import exists

    if exists(f"{__path__[0]}/telemetry.py"):  # noqa: PTH110 - not pathlib
        return True
    tags = ", ".join(tag for tag in sorted(listdir(f"{__path__[0]}/bundles")) if "." not in tag)  # noqa: PTH208 - not pathlib
    _sys.stderr.write(
        f"[lambdatrace] the layer is for {tags}, this is {_sys.implementation.cache_tag}: the "
        "function runs without tracing; build the layer for its --runtime\n"
    )
    return False


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

# Whether this is a layer for another Python: then there is only what does nothing.
_is_bare = not _open_bundle()

if "LAMBDATRACE_IMPORT_SPANS_MIN_MS" in _environ and not is_switched_off():
    # What the function imports after us is timed only if we are there now, not at the first use.
    from lambdatrace import telemetry as _telemetry

    _telemetry.current()

"""The handler redirect: `lambdatrace.auto.handler` runs the handler that LAMBDATRACE_HANDLER names.

For functions whose code shall not change; the layer's exec wrapper sets it up. Importing this
module imports the user's, and raises exactly what the runtime would have met without us.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import lambdatrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

OWN = "lambdatrace.auto.handler"
# Where redirects keep the handler they stand for: ours, OpenTelemetry's layer, then the vendors'.
VARIABLES = (
    "LAMBDATRACE_HANDLER",
    "ORIG_HANDLER",
    "DD_LAMBDA_HANDLER",
    "LUMIGO_ORIGINAL_HANDLER",
    "NEW_RELIC_LAMBDA_HANDLER",
    "SENTRY_INITIAL_HANDLER",
)


def target(environ: Mapping[str, str]) -> str:
    """The handler to run, `module.function` or `path/module.function`.

    LAMBDATRACE_HANDLER; without it, what another redirect has stood for, whose variable is left
    when ours has taken its place. Raises ImportError if there is none but ourselves.
    """
    for name in VARIABLES:
        found = environ.get(name, "")
        if found and found.replace("/", ".") != OWN:
            return found
    value = environ.get("LAMBDATRACE_HANDLER", "")
    raise ImportError(f"LAMBDATRACE_HANDLER is {value!r}: expected the function's own handler")


def load(handler_name: str) -> Callable[..., Any]:
    """The function of this name.

    Found by the runtime client's own function, so that a name that is wrong, and what importing
    raises, is reported as it would be without us. Raises what that raises; outside the runtime
    client, ImportError or AttributeError.
    """
    runtime = sys.modules.get("awslambdaric.bootstrap")
    function: Callable[..., Any] = getattr(runtime, "_get_handler", _import_function)(handler_name)
    return function


def _import_function(handler_name: str) -> Callable[..., Any]:
    module_name, dot, function_name = handler_name.rpartition(".")
    if not dot:
        raise ImportError(f"LAMBDATRACE_HANDLER is {handler_name!r}: expected module.function")
    function: Callable[..., Any] = getattr(
        import_module(module_name.replace("/", ".")), function_name
    )
    return function


def _of_the_function(traceback: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that is below us, the runtime client and the import system."""
    part = traceback
    while part is not None:
        file = part.tb_frame.f_code.co_filename
        if file != __file__ and "importlib" not in file and not file.endswith("/bootstrap.py"):
            return part
        part = part.tb_next
    return traceback


def _start(handler_name: str) -> Any:
    """Note that the function's module begins to be imported; the telemetry of this process."""
    from lambdatrace import telemetry

    current = telemetry.current()
    current.handler_module = handler_name.rpartition(".")[0].replace("/", ".")
    current.initialization.import_started_ns = current.clock.time_ns()
    current.start_extension()
    return current


def __getattr__(name: str) -> Any:
    # Whoever asks for it while it is not there is called by the handler that is being loaded.
    if name == "handler" and _name is not None:
        raise ImportError(
            f"LAMBDATRACE_HANDLER is {_name!r}, which calls {OWN} again: "
            "expected the function's own handler"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_name: str | None = None
_name = target(os.environ)
_telemetry = None if lambdatrace.is_switched_off() else _start(_name)
try:
    _function = load(_name)
except BaseException as error:  # noqa: BLE001 - raised again, whatever it is
    if _telemetry is not None and _telemetry.is_active:
        from lambdatrace.failed_init import report_failed_init

        _telemetry.guard.run(report_failed_init, _telemetry, error)
        from lambdatrace.runtime_client import hide_our_frames

        _telemetry.guard.run(hide_our_frames)
    # As if there had been no second import between: the frames of the first are above.
    raise error.with_traceback(_of_the_function(error.__traceback__))  # noqa: B904 - the same one
handler = lambdatrace.instrument(_function)

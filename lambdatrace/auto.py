"""The handler redirect: `lambdatrace.auto.handler` runs the handler that LAMBDATRACE_HANDLER names.

For functions whose code shall not change; the layer's exec wrapper sets it up. Importing this
module imports the user's, and raises exactly what the runtime would have met without us.
"""

from __future__ import annotations

import sys
from importlib import import_module

from lambdatrace import telemetry
from lambdatrace.handler import instrument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def load(target: str) -> Callable[..., Any]:
    """The function that `target`, `module.function` or `path/module.function`, names.

    Found by the runtime client's own function, so that a name that is wrong, and what importing
    raises, is reported as it would be without us. Raises what that raises; outside the runtime
    client, ImportError or AttributeError.
    """
    current = telemetry.current()
    current.handler_module = target.rpartition(".")[0].replace("/", ".")
    current.initialization.import_started_ns = current.clock.time_ns()
    runtime = sys.modules.get("awslambdaric.bootstrap")
    function: Callable[..., Any] = getattr(runtime, "_get_handler", _import_function)(target)
    return function


def _import_function(target: str) -> Callable[..., Any]:
    module_name, dot, function_name = target.rpartition(".")
    if not dot:
        raise ImportError(f"LAMBDATRACE_HANDLER is {target!r}: expected module.function")
    function: Callable[..., Any] = getattr(
        import_module(module_name.replace("/", ".")), function_name
    )
    return function


telemetry.current().start_extension()
handler = instrument(load(telemetry.current().settings.handler))

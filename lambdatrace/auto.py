"""The handler redirect: `lambdatrace.auto.handler` runs the handler that LAMBDATRACE_HANDLER names.

For functions whose code shall not change; the layer's exec wrapper sets it up. Importing this
module imports the user's, and raises exactly what the runtime would have met without us.
"""

from __future__ import annotations

from lambdatrace import telemetry
from lambdatrace.handler import instrument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def load(target: str) -> Callable[..., Any]:
    """The function that `target`, `module.function` or `path/module.function`, names.

    As the runtime client resolves it: slashes are dots, the last dot parts off the function.
    Raises ImportError with the remedy if `target` has no dot, and what importing raises.
    """
    from importlib import import_module

    module_name, dot, function_name = target.rpartition(".")
    if not dot:
        raise ImportError(
            f"LAMBDATRACE_HANDLER is {target!r}: expected module.function, the handler to run"
        )
    current = telemetry.current()
    current.handler_module = module_name.replace("/", ".")
    current.initialization.import_started_ns = current.clock.time_ns()
    function: Callable[..., Any] = getattr(import_module(current.handler_module), function_name)
    return function


telemetry.current().start_extension()
handler = instrument(load(telemetry.current().settings.handler))

"""Libraries that we record the calls of: a module per library, and one shape for all of them.

A patch module is a door of the post-import hook: it is loaded when the user's code imports the
library, and no sooner. It has `NAME`, what the library is called in `LAMBDATRACE_PATCHES`, and
`attach(module)`, which puts wrappers in place of the library's functions with `wrap`. A wrapper
asks for the `recorder(NAME)` at each call, opens a `calls.Call` within the guard, lets the library
work, and ends the call within the guard: what goes wrong in here reaches neither the library nor
its caller. What a request tells of itself is found by pure functions (`aws_attributes`,
`aws_context`, `http_attributes`).

A library is recorded once: a library that another tracer patches (`leave`, or an active
OpenTelemetry instrumentor) is left to it, and within a call that is recorded already nothing of
the libraries below it is (`calls.within`).
"""

from __future__ import annotations

import sys
from functools import wraps
from types import MethodType

from lambdatrace import telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lambdatrace.telemetry import Telemetry

    # The bound original, the instance, and what it is called with, as in `wrapt`.
    Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]

# OpenTelemetry's instrumentor of each library, by module and class.
_INSTRUMENTORS = {
    "botocore": ("opentelemetry.instrumentation.botocore", "BotocoreInstrumentor"),
    "urllib3": ("opentelemetry.instrumentation.urllib3", "URLLib3Instrumentor"),
    "requests": ("opentelemetry.instrumentation.requests", "RequestsInstrumentor"),
}

_NO_INSTRUMENTOR = ("", "")

_left: set[str] = set()
_wrapped: set[tuple[type, str]] = set()


def recorder(name: str) -> Telemetry | None:
    """What records the calls of the library `name`; None if it is not set so, or another does."""
    current = telemetry.installed()
    if current is None or not current.is_active or name in _left:
        return None
    wanted = current.settings.patches
    if wanted is not None and name not in wanted:
        return None
    module_name, class_name = _INSTRUMENTORS.get(name, _NO_INSTRUMENTOR)
    module = sys.modules.get(module_name)
    if module is not None and _is_instrumented(getattr(module, class_name, None)):
        return None
    return current


def _is_instrumented(instrumentor: Any) -> bool:
    # One instance per class (`BaseInstrumentor.__new__`), which knows whether it is active.
    instance = getattr(instrumentor, "_instance", None)
    return bool(getattr(instance, "is_instrumented_by_opentelemetry", False))


def leave(name: str) -> None:
    """From now on another tracer patches the library `name`: ours stays off."""
    _left.add(name)


def take_back(name: str) -> None:
    """Undo `leave`."""
    _left.discard(name)


def wrap(owner: Any, name: str, wrapper: Wrapper) -> None:
    """Replace the method `name` of the class `owner` by one that calls `wrapper`.

    The replacement has the method's name, documentation and signature, and the method itself as
    `__wrapped__`. It is `wrapt`'s where that is loaded anyway, so that tools which look for it
    find it; importing it costs 10 ms, more than all the rest of a patch. Raises AttributeError
    when `owner` has no such method; a second time it does nothing.
    """
    original = getattr(owner, name)
    if (owner, name) in _wrapped:
        return
    _wrapped.add((owner, name))
    wrapt: Any = sys.modules.get("wrapt")
    if wrapt is not None:
        setattr(owner, name, wrapt.FunctionWrapper(original, wrapper))
        return

    @wraps(original)
    def patched(instance: Any, /, *arguments: Any, **keywords: Any) -> Any:
        return wrapper(MethodType(original, instance), instance, arguments, keywords)

    setattr(owner, name, patched)

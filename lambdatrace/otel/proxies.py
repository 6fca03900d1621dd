"""Ours behind the API's own proxy tracers and loggers, for as long as no provider is set."""

from __future__ import annotations

from lambdatrace import telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MARK = "__lambdatrace_door__"


def stand_behind(kind: Any, name: str, no_op: type, make: Callable[[Any], Any]) -> bool:
    """Have the proxies of the class `kind` resolve to ours instead of the API's no-op; once.

    `name` is the property that resolves, as `_tracer`; `no_op` is the class of what it gives until
    a provider is set, and `make` gives ours for a proxy. False if that was done before.
    """
    if _MARK in kind.__dict__:
        return False
    setattr(kind, _MARK, True)
    resolve, its_no_op = getattr(kind, name).fget, f"_noop{name}"

    def resolve_to_ours(proxy: Any) -> Any:
        found = resolve(proxy)
        if type(found) is not no_op or found is not getattr(proxy, its_no_op):
            return found
        current = telemetry.installed()
        if current is None or not current.is_active:
            return found
        # From now on its no-op is ours, for as long as no provider is set.
        own = make(proxy)
        setattr(proxy, its_no_op, own)
        return own

    setattr(kind, name, property(resolve_to_ours))
    return True

"""Sees a user set a provider of `opentelemetry-sdk` as the global one, and has it flushed by us."""

from __future__ import annotations

from functools import wraps

from lambdatrace import telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


def watch(module: ModuleType, setter: str, variable: str) -> None:
    """Adopt what stands in `variable` of the API's `module`, now and after each call of `setter`.

    The API's public `set_…_provider` and its reading of the environment both end in that setter.
    Without one, as some version may be, a provider must be given to `lambdatrace.otel.instrument`.
    """
    inner: Any = getattr(module, setter, None)
    if inner is not None:

        @wraps(inner)
        def set_and_adopt(*arguments: Any, **keywords: Any) -> None:
            inner(*arguments, **keywords)
            adopt(getattr(module, variable, None))

        setattr(module, setter, set_and_adopt)
    adopt(getattr(module, variable, None))


def adopt(provider: Any) -> None:
    """Flush `provider` after each response, and send our spans to its processors."""
    current = telemetry.installed()
    if provider is None or current is None or not current.is_active:
        return
    # Only the SDK's own, or what is made of it: another vendor's knows how to flush itself.
    if not any(kind.__module__.startswith("opentelemetry.sdk.") for kind in type(provider).__mro__):
        return
    current.guard.run(_adopt, current, provider)


def _adopt(current: Any, provider: Any) -> None:
    if current.providers is None:
        from lambdatrace.otel.providers import Providers

        current.providers = Providers(current)
    current.providers.adopt(provider)

"""The door for code written against OpenTelemetry: its API's calls become our records.

Each module here stands before one part of the `opentelemetry` packages, and is loaded by the
post-import hook right after the user's code has imported that part. With the API alone, our
recorders are what stands behind the API's own proxies: a provider that is set later, by
`set_tracer_provider` and its like or by OTEL_PYTHON_TRACER_PROVIDER, takes their place as it would
take a no-op's. Nothing here is loaded when `opentelemetry` is not.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def instrument(*providers: Any) -> None:
    """Keep and use the SDK's providers: their traces go on in ours, and none is frozen unsent.

    Each `TracerProvider`, `MeterProvider` or `LoggerProvider` is flushed after every response and
    before a timeout, in bounded time. Not needed for those that are set as the global ones.
    """
    from lambdatrace import telemetry
    from lambdatrace.otel.global_providers import adopt

    telemetry.current()
    for provider in providers:
        adopt(provider)

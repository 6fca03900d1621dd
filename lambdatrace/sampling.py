"""Which traces are recorded, by OpenTelemetry's sampler names; the default needs none of this."""

from __future__ import annotations

from lambdatrace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from lambdatrace.records import SpanContext
    from lambdatrace.tracing import Sampler

_TRACE_ID_BOUND = 1 << 64
SHARE_DEFAULT = "1.0"


def ratio_sampler(name: str, argument: str = SHARE_DEFAULT) -> Sampler:
    """The sampler called `name`: for a whole trace at its root, children follow their local parent.

    `traceidratio` keeps a trace when the low 64 bits of its id are below ratio x 2^64, as
    OpenTelemetry's TraceIdRatioBased does, so that all services keep the same traces.
    Raises SettingError if `argument` is not a number from 0 to 1 where one is needed.
    """
    follows_parent = name.startswith("parentbased_")
    kind = name.removeprefix("parentbased_")
    share = {"always_on": 1.0, "always_off": 0.0}.get(kind)
    bound = round((_share(argument) if share is None else share) * _TRACE_ID_BOUND)

    def is_sampled(trace_id: str, parent: SpanContext | None) -> bool:
        if parent is not None and follows_parent:
            return parent.is_sampled
        return bound == _TRACE_ID_BOUND or int(trace_id[16:], 16) < bound

    return is_sampled


def _share(argument: str) -> float:
    try:
        share = float(argument)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise SettingError("OTEL_TRACES_SAMPLER_ARG", argument, "a number from 0 to 1")
    return share


KEPT = ("errors", "cold_starts")


def is_kept(wanted: Collection[str], *, is_error: bool, is_cold_start: bool) -> bool:
    """Whether a trace that was sampled out is sent all the same; `wanted` are some of KEPT."""
    return (is_error and "errors" in wanted) or (is_cold_start and "cold_starts" in wanted)

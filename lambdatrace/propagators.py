"""Which headers an invocation's context is read from and ours is written to: OTEL_PROPAGATORS.

As with OpenTelemetry's composite propagator each of the named is asked in order, and the last that
finds a context gives it. So the default lets W3C's headers win over X-Ray's.
Sources: OpenTelemetry specification, "Environment variables: General SDK configuration"; semantic
conventions, "AWS Lambda: Context propagation", for `xray-lambda`.
"""

from __future__ import annotations

from lambdatrace import propagation
from lambdatrace.errors import SettingError
from lambdatrace.records import Carried, SpanContext
from lambdatrace.settings import PROPAGATORS_DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from typing import Any

VARIABLE = "OTEL_PROPAGATORS"

_INJECTORS: dict[str, Callable[[SpanContext, MutableMapping[str, str]], None]] = {
    "tracecontext": propagation.inject_trace_context,
    "baggage": propagation.inject_baggage,
    "b3": propagation.inject_b3,
    "b3multi": propagation.inject_b3_multi,
    "xray": propagation.inject_x_ray,
    "xray-lambda": propagation.inject_x_ray,
}


class Upstream:
    """What is known of who called: the `parent` of our span, or at least the `trace_id` to take.

    `carried` is what goes on to those we call, unread by us.
    """

    __slots__ = ("carried", "parent", "trace_id")

    def __init__(
        self,
        parent: SpanContext | None = None,
        trace_id: str | None = None,
        carried: Carried | None = None,
    ) -> None:
        self.parent = parent
        self.trace_id = trace_id
        self.carried = carried


def parse_propagators(value: str) -> tuple[str, ...]:
    """The propagators that OTEL_PROPAGATORS names.

    Raises SettingError for one we have not; its `instead` are those we have.
    """
    names = tuple(dict.fromkeys(name.strip().lower() for name in value.split(",") if name.strip()))
    if names == ("none",):
        return ()
    known = tuple(name for name in names if name in _INJECTORS)
    if known != names:
        unknown = ",".join(name for name in names if name not in known)
        expected = "none, or some of " + ", ".join(sorted(_INJECTORS))
        raise SettingError(VARIABLE, unknown, expected, instead=known or None)
    if "xray" in names and "xray-lambda" in names:
        raise SettingError(VARIABLE, value, "one of xray and xray-lambda, which exclude each other")
    return names


def read_upstream(
    names: Sequence[str],
    carriers: Sequence[Mapping[Any, Any]],
    trace_header: str | None,
    *,
    is_sampling_of_x_ray: bool,
) -> Upstream:
    """What the propagators `names` find in `carriers`, the first of which goes before the next.

    `trace_header` is Lambda's own X-Ray header, which names a segment of Lambda's. It is taken when
    nothing else is found: whole with `xray-lambda` or `is_sampling_of_x_ray`; else its Parent only
    if it is sampled, since an unsampled one is recorded by nobody and says nothing of what we
    sample, but always its Root, so that the id in X-Ray and in the logs finds our trace too.
    """
    lowered = [_lowered(carrier) for carrier in carriers]
    lambda_header = propagation.read_x_ray(trace_header)
    carried: Carried | None = Carried(
        _first(propagation.read_baggage, lowered) or "" if "baggage" in names else "",
        lambda_header.lineage if lambda_header is not None else "",
    )
    parent = None
    for name in names:
        if name == "tracecontext":
            parent = _first(propagation.read_trace_context, lowered) or parent
        elif name in ("b3", "b3multi"):
            parent = _first(propagation.read_b3, lowered) or parent
        elif name == "xray-lambda" and parent is None and lambda_header is not None:
            parent = propagation.x_ray_context(lambda_header)
        elif name in ("xray", "xray-lambda"):
            found = _first(propagation.read_x_ray_context, lowered)
            # Lambda's own header is the nearer one when both are of the same trace.
            if found and (lambda_header is None or lambda_header.trace_id != found.trace_id):
                parent = found
    if carried and not (carried.baggage or carried.lineage):
        carried = None
    if parent is not None or lambda_header is None or not names:
        return Upstream(parent, carried=carried)
    if lambda_header.is_sampled or is_sampling_of_x_ray:
        parent = propagation.x_ray_context(lambda_header)
    return Upstream(parent, lambda_header.trace_id, carried)


def inject(
    context: SpanContext,
    carrier: MutableMapping[str, str],
    names: Sequence[str] = PROPAGATORS_DEFAULT,
) -> None:
    """Write `context` into `carrier`, headers or message attributes, in each format of `names`."""
    for name in names:
        _INJECTORS[name](context, carrier)


def _lowered(carrier: Mapping[Any, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in carrier.items() if isinstance(key, str)}


def _first(read: Callable[[Mapping[str, Any]], Any], carriers: Sequence[Mapping[str, Any]]) -> Any:
    return next((found for found in map(read, carriers) if found), None)

"""Context on the wire: W3C `traceparent`, `tracestate` and `baggage`, `X-Amzn-Trace-Id`, B3.

What cannot be read gives None, never an error: a bad header must not cost an invocation its trace.
Sources: W3C Trace Context Level 1 and Baggage; AWS X-Ray Developer Guide, "Tracing header";
openzipkin/b3-propagation.
"""

from __future__ import annotations

from lambdatrace.records import SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from typing import Any

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"
B3 = "b3"
X_RAY = "X-Amzn-Trace-Id"

TRACE_ID_DIGITS = 32
SPAN_ID_DIGITS = 16
BAGGAGE_LENGTH_MAX = 8192
TRACE_STATE_LENGTH_MAX = 512  # what a tracer must at least carry; longer is dropped whole
_NO_TRACE_ID, _NO_SPAN_ID = "0" * TRACE_ID_DIGITS, "0" * SPAN_ID_DIGITS


class XRayHeader:
    """The fields of an `X-Amzn-Trace-Id`; `trace_id` in W3C form, the rest as it stood.

    `parent_id` is None when absent, `is_sampled` None when absent or `?`. `lineage` is what Lambda
    adds for loop detection.
    """

    __slots__ = ("is_sampled", "lineage", "parent_id", "trace_id")

    def __init__(
        self, trace_id: str, parent_id: str | None, is_sampled: bool | None, lineage: str
    ) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.is_sampled = is_sampled
        self.lineage = lineage


def read_traceparent(value: Any, trace_state: Any = "") -> SpanContext | None:
    """The context in a `traceparent` header; None unless it is valid."""
    if not isinstance(value, str):
        return None
    parts = value.strip().split("-")
    if len(parts) < 4:  # noqa: PLR2004 - version, trace id, parent id, flags
        return None
    version, trace_id, span_id, flags = parts[:4]
    if (
        len(version) != 2  # noqa: PLR2004
        or version == "ff"
        or (version == "00" and len(parts) != 4)  # noqa: PLR2004
        or len(flags) != 2  # noqa: PLR2004
        or not _is_hex(version + flags)
        or not is_trace_id(trace_id)
        or not is_span_id(span_id)
    ):
        return None
    state = trace_state if isinstance(trace_state, str) else ""
    return SpanContext(
        trace_id,
        span_id,
        is_sampled=bool(int(flags, 16) & 1),
        trace_state=state if len(state) <= TRACE_STATE_LENGTH_MAX else "",
        is_remote=True,
    )


def write_traceparent(context: SpanContext) -> str:
    """The `traceparent` header for `context`."""
    return f"00-{context.trace_id}-{context.span_id}-{'01' if context.is_sampled else '00'}"


def read_x_ray(value: Any) -> XRayHeader | None:
    """The fields of an `X-Amzn-Trace-Id` header; None without a valid Root."""
    if not isinstance(value, str):
        return None
    root = _field(value, "Root=")
    trace_id = root[2:10] + root[11:]
    if root[:2] != "1-" or root[10:11] != "-" or not is_trace_id(trace_id):
        return None
    parent_id = _field(value, "Parent=")
    return XRayHeader(
        trace_id,
        parent_id if is_span_id(parent_id) else None,
        {"1": True, "0": False}.get(_field(value, "Sampled=")),
        _field(value, "Lineage="),
    )


def _field(header: str, key: str) -> str:
    start = header.find(key)
    if start < 0 or (start > 0 and header[start - 1] not in "; "):
        return ""
    end = header.find(";", start)
    return header[start + len(key) : end if end >= 0 else None].strip()


def write_x_ray(context: SpanContext, lineage: str = "") -> str:
    """The `X-Amzn-Trace-Id` header for `context`."""
    trace_id = context.trace_id
    header = (
        f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={context.span_id}"
        f";Sampled={1 if context.is_sampled else 0}"
    )
    return f"{header};Lineage={lineage}" if lineage else header


def inject_trace_context(context: SpanContext, carrier: MutableMapping[str, str]) -> None:
    """Write `traceparent`, and `tracestate` if there is one."""
    carrier[TRACEPARENT] = write_traceparent(context)
    if context.trace_state:
        carrier[TRACESTATE] = context.trace_state


def inject_baggage(context: SpanContext, carrier: MutableMapping[str, str]) -> None:
    """Write the `baggage` that came with the invocation."""
    if context.carried is not None and context.carried.baggage:
        carrier[BAGGAGE] = context.carried.baggage


def inject_x_ray(context: SpanContext, carrier: MutableMapping[str, str]) -> None:
    """Write `X-Amzn-Trace-Id`, with the Lineage that came with the invocation."""
    carrier[X_RAY] = write_x_ray(context, context.carried.lineage if context.carried else "")


def inject_b3(context: SpanContext, carrier: MutableMapping[str, str]) -> None:
    """Write the single header `b3`."""
    carrier[B3] = f"{context.trace_id}-{context.span_id}-{'1' if context.is_sampled else '0'}"


def inject_b3_multi(context: SpanContext, carrier: MutableMapping[str, str]) -> None:
    """Write the headers `x-b3-…`."""
    carrier["x-b3-traceid"] = context.trace_id
    carrier["x-b3-spanid"] = context.span_id
    carrier["x-b3-sampled"] = "1" if context.is_sampled else "0"


# Each `read_` of a carrier wants its keys in lower case.


def read_trace_context(carrier: Mapping[str, Any]) -> SpanContext | None:
    """The context in `traceparent` and `tracestate`."""
    return read_traceparent(carrier.get(TRACEPARENT), carrier.get(TRACESTATE, ""))


def read_baggage(carrier: Mapping[str, Any]) -> str:
    """The `baggage` header as it stands; empty if it is none, or longer than one may be."""
    value = carrier.get(BAGGAGE)
    if not isinstance(value, str) or len(value) > BAGGAGE_LENGTH_MAX:
        return ""
    return value if value.isascii() and value.isprintable() else ""


def read_x_ray_context(carrier: Mapping[str, Any]) -> SpanContext | None:
    """The span that an `X-Amzn-Trace-Id` names; None unless it names one."""
    header = read_x_ray(carrier.get(X_RAY.lower()))
    return x_ray_context(header) if header is not None else None


def x_ray_context(header: XRayHeader) -> SpanContext | None:
    """The span that `header` names; None unless it names one. Without Sampled=1, not sampled."""
    if header.parent_id is None:
        return None
    return SpanContext(
        header.trace_id, header.parent_id, is_sampled=bool(header.is_sampled), is_remote=True
    )


def read_b3(carrier: Mapping[str, Any]) -> SpanContext | None:
    """The context in `b3`, or in the `x-b3-…` headers.

    64-bit trace ids are padded with zeros. `d` (debug) counts as sampled; a decision that is not
    told is left to us, which is to sample.
    """
    single = carrier.get(B3)
    if isinstance(single, str):
        trace_id, span_id, sampled = [*single.strip().split("-"), "", "", ""][:3]
    else:
        trace_id, span_id, sampled = (
            value if isinstance(value := carrier.get(f"x-b3-{name}"), str) else ""
            for name in ("traceid", "spanid", "sampled")
        )
        if carrier.get("x-b3-flags") == "1":
            sampled = "d"
    trace_id = trace_id.strip().lower().rjust(TRACE_ID_DIGITS, "0")
    span_id = span_id.strip().lower()
    if not (is_trace_id(trace_id) and is_span_id(span_id)):
        return None
    is_sampled = sampled.lower() not in ("0", "false")
    return SpanContext(trace_id, span_id, is_sampled=is_sampled, is_remote=True)


def extract(carrier: Mapping[Any, Any]) -> SpanContext | None:
    """The W3C context in `carrier`, whose keys may be in any case."""
    if TRACEPARENT not in carrier:
        carrier = {key.lower(): text for key, text in carrier.items() if isinstance(key, str)}
    return read_trace_context(carrier)


def link_context(x_ray: Any) -> SpanContext | None:
    """The span an `X-Amzn-Trace-Id` names, to link to; None unless it names one."""
    header = read_x_ray(x_ray)
    return x_ray_context(header) if header is not None else None


def is_trace_id(text: str) -> bool:
    """Whether `text` is a valid W3C trace id: 32 lower-case hex digits, not all zero."""
    return len(text) == TRACE_ID_DIGITS and _is_hex(text) and text != _NO_TRACE_ID


def is_span_id(text: str) -> bool:
    """Whether `text` is a valid W3C parent id: 16 lower-case hex digits, not all zero."""
    return len(text) == SPAN_ID_DIGITS and _is_hex(text) and text != _NO_SPAN_ID


def _is_hex(text: str) -> bool:
    # Without sign, underscore, space or foreign digits, all of which int() would take.
    if not (text.isascii() and text.isalnum() and text == text.lower()):
        return False
    try:
        int(text, 16)
    except ValueError:
        return False
    return True

"""Trace ids as users write them."""

from __future__ import annotations

import re

from lambdatrace_collector.errors import BadRequestError

_W3C_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_XRAY_TRACE_ID = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")


def parse_trace_id(text: str) -> str:
    """The trace id as 32 hex digits; X-Ray's `1-8hex-24hex` is the same id in another spelling.

    Raises BadRequestError.
    """
    lowered = text.lower()
    if _W3C_TRACE_ID.fullmatch(lowered):
        return lowered
    xray = _XRAY_TRACE_ID.fullmatch(lowered)
    if xray is None:
        raise BadRequestError(
            f"trace id is {text!r}: expected 32 hex digits, or 1-8hex-24hex as X-Ray writes it"
        )
    return xray[1] + xray[2]

"""The tracing header of an invoke, as a function's TracingConfig has Lambda make it.

Source: Lambda Developer Guide, "Visualize Lambda function invocations using AWS X-Ray"; Lambda API
reference, "TracingConfig"; X-Ray Developer Guide, "Tracing header" and "Sampling rules".
"""

from __future__ import annotations

import os
import random
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Values of TracingConfig's Mode.
ACTIVE = "Active"
PASS_THROUGH = "PassThrough"  # noqa: S105 - no password
TRACING_MODES = (PASS_THROUGH, ACTIVE)

SAMPLED_SHARE = 0.05  # of the requests after the first of a second: X-Ray's default rule

_ROOT = re.compile(r"(?:^|;)\s*Root=([^;\s]+)", re.IGNORECASE)
_PARENT = re.compile(r"(?:^|;)\s*Parent=([^;\s]+)", re.IGNORECASE)
_SAMPLED = re.compile(r"(?:^|;)\s*Sampled=([^;]*)", re.IGNORECASE)


class Sampler:
    """X-Ray's default rule, for one function: the first request of each second, and 5 % above."""

    def __init__(
        self,
        clock_s: Callable[[], float] = time.time,
        share: Callable[[], float] = random.random,
    ) -> None:
        self._clock_s = clock_s
        self._share = share
        self._second = -1

    def is_sampled(self) -> bool:
        """Whether the request that comes now is."""
        second = int(self._clock_s())
        if second != self._second:
            self._second = second
            return True
        return self._share() < SAMPLED_SHARE


def recorded_segment(header: str) -> tuple[str, str] | None:
    """(trace id, id of the function's segment) where X-Ray records the request, else None.

    The segment is the header's Parent: what the function adds to the trace hangs below it.
    """
    root, parent, sampled = (found.search(header) for found in (_ROOT, _PARENT, _SAMPLED))
    if root and parent and sampled and sampled[1].strip() == "1":
        return root[1], parent[1]
    return None


def trace_header(incoming: str, mode: str, sampler: Sampler, lineage_hash: str) -> str:
    """The header a function gets: the caller's decision if there is one, else the mode's.

    Sampled=1 and Sampled=0 of the caller are kept in both modes. Without either, Active asks the
    sampler, and PassThrough does not sample. A header without a Root is no trace: it is
    replaced by one whose Lineage begins with `lineage_hash` (see `recursion`).
    """
    if not _ROOT.search(incoming):
        return new_trace_header(lineage_hash, is_sampled=mode == ACTIVE and sampler.is_sampled())
    found = _SAMPLED.search(incoming)
    if found and found[1].strip() in ("0", "1"):
        return incoming
    decision = int(mode == ACTIVE and sampler.is_sampled())
    undecided = _SAMPLED.sub("", incoming).strip("; ")
    return f"{undecided};Sampled={decision}"


def new_trace_header(lineage_hash: str, *, is_sampled: bool) -> str:
    """The tracing header Lambda makes for a caller that sent none; a Lineage begins in it."""
    drawn = os.urandom(20).hex()
    seconds = int(time.time())
    return (
        f"Root=1-{seconds:08x}-{drawn[:24]};Parent={drawn[24:40]};Sampled={int(is_sampled)};"
        f"Lineage=1:{lineage_hash}:0"
    )

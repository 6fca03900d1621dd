"""When the invokes of a load run are due: rates, ramps and bounds as arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lambdatrace.harness.errors import HarnessSettingsError

RATE_MAX = 10_000.0  # per second: far more than one machine executes
OPEN_CONCURRENCY = 1000  # invokes that wait for their answer at once, where a rate is given


@dataclass(frozen=True)
class LoadPlan:
    """What to send. Raises HarnessSettingsError for what is no load.

    With a `rate` (per second) invokes are due at their times however slow the function is, at most
    `concurrency` at once; without one, each of `concurrency` callers sends the next invoke as soon
    as it has the answer to the one before. For `ramp_s` the rate, or the number of callers, grows
    evenly from nothing. The run ends after `duration_s` or `count` invokes, whichever is first.
    """

    rate: float | None = None
    concurrency: int | None = None
    ramp_s: float = 0.0
    duration_s: float | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate <= RATE_MAX:
            raise HarnessSettingsError(
                f"rate {self.rate:g}: expected more than 0 and at most {RATE_MAX:g} per second"
            )
        if self.concurrency is not None and self.concurrency < 1:
            raise HarnessSettingsError(f"concurrency {self.concurrency}: expected at least 1")
        if self.count is not None and self.count < 1:
            raise HarnessSettingsError(f"count {self.count}: expected at least 1")
        if not 0 <= self.ramp_s < math.inf:
            raise HarnessSettingsError(f"ramp {self.ramp_s:g} s: expected 0 or more seconds")
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise HarnessSettingsError(f"duration {self.duration_s:g} s: expected more than 0")
        if self.duration_s is not None and self.ramp_s > self.duration_s:
            raise HarnessSettingsError(
                f"ramp {self.ramp_s:g} s: expected at most the duration, {self.duration_s:g} s"
            )
        if self.count is None and self.duration_s is None:
            raise HarnessSettingsError("a load run needs a duration or a count")

    @property
    def callers(self) -> int:
        """How many invokes may wait for their answer at once."""
        return self.concurrency or (1 if self.rate is None else OPEN_CONCURRENCY)

    @property
    def is_open(self) -> bool:
        """Whether invokes have times of their own; otherwise each follows an answer."""
        return self.rate is not None

    def due_s(self, index: int) -> float:
        """With a rate, when the invoke `index` (from 0) is due, in seconds from the start.

        While the rate ramps up, n invokes are due after sqrt(2 n ramp / rate): the area below it.
        """
        if self.rate is None:
            return 0.0
        in_ramp = self.rate * self.ramp_s / 2
        if index < in_ramp:
            return math.sqrt(2 * index * self.ramp_s / self.rate)
        return self.ramp_s + (index - in_ramp) / self.rate

    def caller_start_s(self, caller: int) -> float:
        """When a caller (from 0) begins, in seconds from the start."""
        return 0.0 if self.is_open else self.ramp_s * caller / self.callers

    def has(self, index: int, at_s: float) -> bool:
        """Whether the invoke `index`, sent `at_s` seconds after the start, is still in the run."""
        is_counted = self.count is None or index < self.count
        return is_counted and (self.duration_s is None or at_s < self.duration_s)

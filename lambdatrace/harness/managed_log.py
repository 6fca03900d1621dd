"""The log of an environment on Managed Instances, whose invokes run at the same time.

An invoke has START, END and a REPORT with its duration alone, and no event when its runtime is
done. Source: aws-lambda-runtime-interface-emulator, `internal/lambda-managed-instances`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lambdatrace.harness import platform_logs, telemetry_events
from lambdatrace.harness.environment_log import EnvironmentLog

if TYPE_CHECKING:
    from lambdatrace.harness.invocation import Invocation
    from lambdatrace.harness.log_stream import LogTail
    from lambdatrace.harness.platform_logs import Report


class ManagedLog(EnvironmentLog):
    """As `EnvironmentLog`; of the lines that are written, a tail has those that name its invoke."""

    _tails: dict[str, LogTail] | None = None

    def start(self, invocation: Invocation, time_ms: int = 0) -> None:
        """An invoke begins."""
        if invocation.log_tail:
            self._tails = {**(self._tails or {}), invocation.request_id: invocation.log_tail}
        line = platform_logs.managed_start(invocation.request_id, self._function_version)
        record = telemetry_events.start(invocation, self._function_version)
        self._say("platform.start", self._with_span_id(record, invocation), line, time_ms)

    def report(
        self,
        invocation: Invocation,
        figures: Report,
        ended_ns: int,  # noqa: ARG002 - of extensions, which have no part in an invoke here
        *,
        has_extensions: bool,  # noqa: ARG002
        fault: str = "",  # noqa: ARG002 - there is one style alone
    ) -> None:
        """An invoke is over."""
        now_ms = int(time.time() * 1000)
        request_id = invocation.request_id
        self._say("platform.end", {"requestId": request_id}, platform_logs.end(request_id), now_ms)
        record = telemetry_events.managed_report(invocation, figures)
        line = platform_logs.managed_report(request_id, figures.duration_ms)
        self._say("platform.report", self._with_span_id(record, invocation), line, now_ms)
        if self._tails:
            self._tails.pop(request_id, None)

    def _put(self, time_ms: int, message: str, *, is_kept: bool = True) -> None:
        for request_id, tail in (self._tails or {}).items():
            if request_id in message:
                tail.add(message)
        super()._put(time_ms, message, is_kept=is_kept)

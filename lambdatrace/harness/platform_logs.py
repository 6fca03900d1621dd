"""The lines Lambda itself writes to a function's log in the text format, in its two styles.

Since 2025 REPORT says how an invoke failed. Before that, and still in some Regions (China and
GovCloud), a line of its own does, between START and END, and REPORT has no status.
Source: AWS Lambda developer guide, "Sending Lambda function logs to CloudWatch Logs", and captures
of real log groups: tabs between REPORT fields, a tab before the newline when no status follows.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass

STYLE_2023, STYLE_2025 = "2023", "2025"
STYLES = (STYLE_2025, STYLE_2023)


def runtime_version(runtime: str, full_version: str) -> str:
    """The runtime's version as AWS writes it: `python:3.12.v98`."""
    return runtime.replace("python", "python:", 1) + f".v{full_version.rsplit('.', 1)[-1]}"


def runtime_version_arn(full_version: str, region: str) -> str:
    """The ARN of a runtime version. AWS's end in a hash; ours is one of the version."""
    digest = hashlib.sha256(full_version.encode()).hexdigest()
    return f"arn:aws:lambda:{region}::runtime:{digest}"


def init_start(version: str, version_arn: str) -> str:
    """The line that opens an init."""
    return f"INIT_START Runtime Version: {version}\tRuntime Version ARN: {version_arn}\n"


def restore_start(version: str, version_arn: str) -> str:
    """The line that opens the restore of a snapshot."""
    return f"RESTORE_START Runtime Version: {version}\tRuntime Version ARN: {version_arn}\n"


def init_report(duration_ms: float, phase: str, status: str = "", error_type: str = "") -> str:
    """The line for an init that failed, or that no request waited for.

    A successful on-demand init has none.
    """
    line = f"INIT_REPORT Init Duration: {duration_ms:.2f} ms\tPhase: {phase}"
    return line + _outcome(status, error_type)


def restore_report(duration_ms: float, status: str = "", error_type: str = "") -> str:
    """The line that ends a restore."""
    return f"RESTORE_REPORT Restore Duration: {duration_ms:.2f} ms" + _outcome(status, error_type)


def _outcome(status: str, error_type: str) -> str:
    text = f"\tStatus: {status}" if status else ""
    return f"{text}\tError Type: {error_type}\n" if error_type else f"{text}\n"


def extension(name: str, state: str, events: tuple[str, ...], error_type: str = "") -> str:
    """The line that tells an extension's state at the end of init."""
    line = f"EXTENSION\tName: {name}\tState: {state}\tEvents: [{', '.join(events)}]"
    return f"{line}\tError Type: {error_type}\n" if error_type else f"{line}\n"


def subscription(api: str, name: str, state: str, types: tuple[str, ...]) -> str:
    """The line for a subscription of the Telemetry or the Logs API."""
    listed = ", ".join(type_.capitalize() for type_ in types)
    return f"{api.upper()}\tName: {name}\tState: {state}\tTypes: [{listed}]\n"


def start(request_id: str, version: str) -> str:
    """The line that opens an invoke."""
    return f"START RequestId: {request_id} Version: {version}\n"


def managed_start(request_id: str, version: str) -> str:
    """The line that opens an invoke on Managed Instances."""
    return f"START RequestId: {request_id}\tVersion: {version}\n"


def managed_report(request_id: str, duration_ms: float) -> str:
    """The REPORT line on Managed Instances, where neither time nor memory is an invoke's alone."""
    return f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\n"


def end(request_id: str) -> str:
    """The line after an invoke's last output."""
    return f"END RequestId: {request_id}\n"


def task_timed_out(request_id: str, timeout_s: float, now_s: float) -> str:
    """What the style of 2023 says of a timeout: to the caller, and in the log."""
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
    millis = int(now_s * 1000) % 1000
    return f"{second}.{millis:03d}Z {request_id} Task timed out after {timeout_s:.2f} seconds"


def fault(request_id: str, message: str, error_type: str) -> str:
    """The event between START and END by which the style of 2023 tells of a failed invoke.

    `message` is the caller's. Of a function that could not be loaded the log says that its runtime
    ended: the runtime client does when it has told of it.
    """
    if error_type == "":
        return f"{message}\n\n"
    if not message.startswith("RequestId: "):
        message = f"RequestId: {request_id} Error: Runtime exited with error: exit status 1"
        error_type = "Runtime.ExitError"
    return f"{message}\n{error_type}\n"


def xray(trace_id: str, segment_id: str) -> str:
    """What the REPORT of a request that X-Ray records has as its second line."""
    return f"XRAY TraceId: {trace_id}\tSegmentId: {segment_id}\tSampled: true\t\n"


@dataclass(frozen=True)
class Report:
    """The figures of one finished invoke, by the names AWS gives them in `platform.report`.

    `init_duration_ms` is None for a warm or suppressed-init one, and where no request waited for
    the init; `restore_duration_ms` is given for the first one after a restore.
    """

    request_id: str
    duration_ms: float
    memory_size_mb: int
    max_memory_used_mb: int
    init_duration_ms: float | None = None
    status: str = ""
    error_type: str = ""
    restore_duration_ms: float | None = None

    @property
    def billed_duration_ms(self) -> int:
        """Duration and init, up to the next millisecond: init is billed since August 2025.

        What is billed of a restore is in it as well.
        """
        started_ms = (self.init_duration_ms or 0.0) + self.billed_restore_duration_ms
        return max(1, math.ceil(round(self.duration_ms + started_ms, 4)))

    @property
    def billed_restore_duration_ms(self) -> int:
        """The runtime's loading and the hooks, which here are all there is to a restore."""
        return math.ceil(round(self.restore_duration_ms or 0.0, 4))

    def line(self, style: str = STYLE_2025) -> str:
        """The REPORT line."""
        line = (
            f"REPORT RequestId: {self.request_id}\tDuration: {self.duration_ms:.2f} ms\t"
            f"Billed Duration: {self.billed_duration_ms} ms\t"
            f"Memory Size: {self.memory_size_mb} MB\t"
            f"Max Memory Used: {self.max_memory_used_mb} MB\t"
        )
        if self.init_duration_ms is not None:
            line += f"Init Duration: {self.init_duration_ms:.2f} ms\t"
        if self.restore_duration_ms is not None:
            line += (
                f"Restore Duration: {self.restore_duration_ms:.2f} ms\t"
                f"Billed Restore Duration: {self.billed_restore_duration_ms} ms\t"
            )
        if self.status and style == STYLE_2025:
            line += f"Status: {self.status}"
            if self.error_type:
                line += f"\tError Type: {self.error_type}"
        return f"{line}\n"

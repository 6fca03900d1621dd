"""Lambda Insights: one embedded-metric event for each invoke, of what its processes have used.

On AWS the LambdaInsightsExtension layer writes it; here `Function(lambda_insights=True)` has the
harness write it, so that nothing runs in the environment that is measured. Figures are those of
/proc; what the extension itself uses is left out, and so is the network where the environment
shares the machine's. Source: Amazon CloudWatch user guide, "Metrics collected by Lambda Insights".
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdatrace import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lambdatrace.harness.platform_logs import Report

LOG_GROUP = "/aws/lambda-insights"
NAMESPACE = "LambdaInsights"
_MS_PER_TICK = 1000 // os.sysconf("SC_CLK_TCK")
_METRICS = {
    "memory_utilization": "Percent",
    "total_memory": "Megabytes",
    "used_memory_max": "Megabytes",
    "cpu_total_time": "Milliseconds",
    "tx_bytes": "Bytes",
    "rx_bytes": "Bytes",
    "total_network": "Bytes",
    "init_duration": "Milliseconds",
}
# Fields of /proc/PID/stat after the name, from 0: proc(5).
_UTIME, _STIME, _CUTIME, _CSTIME, _THREADS = 11, 12, 13, 14, 17


class Usage(NamedTuple):
    """What processes have used until now. Times are in ms; the network is None where it is shared.

    `tmp_bytes` is what is free in /tmp, and its size.
    """

    user_ms: int = 0
    system_ms: int = 0
    threads: int = 0
    descriptors: int = 0
    descriptors_max: int = 0
    tmp_bytes: tuple[int, int] = (0, 0)
    network_bytes: tuple[int, int] | None = None  # received, sent


def usage(pids: Iterable[int]) -> Usage:
    """What these processes, each with the children it has waited for, have used until now."""
    found = Usage()
    for pid in pids:
        try:
            found = _and_of(found, pid)
        except OSError:
            continue  # it has ended
    return found


def performance_event(
    function_name: str,
    version: str,
    report: Report,
    before: Usage,
    after: Usage,
    now_ms: int,
    trace_id: str = "",
) -> dict[str, Any]:
    """The event of one invoke, from its REPORT line and the usage before and after."""
    user_ms = max(0, after.user_ms - before.user_ms)
    system_ms = max(0, after.system_ms - before.system_ms)
    tmp_free, tmp_max = after.tmp_bytes
    event: dict[str, Any] = {
        "event_type": "performance",
        "function_name": function_name,
        "version": version,
        "request_id": report.request_id,
        "duration": int(report.duration_ms),
        "billed_duration": report.billed_duration_ms,
        "billed_mb_ms": report.billed_duration_ms * report.memory_size_mb,
        "cold_start": report.init_duration_ms is not None,
        "tmp_free": tmp_free,
        "tmp_max": tmp_max,
        "tmp_used": tmp_max - tmp_free,
        "threads_max": max(before.threads, after.threads),
        "used_memory_max": report.max_memory_used_mb,
        "total_memory": report.memory_size_mb,
        "memory_utilization": report.max_memory_used_mb * 100 // report.memory_size_mb,
        "cpu_user_time": user_ms,
        "cpu_system_time": system_ms,
        "cpu_total_time": user_ms + system_ms,
        "fd_use": max(before.descriptors, after.descriptors),
        "fd_max": after.descriptors_max or before.descriptors_max,
        "agent_version": f"lambdatrace-{__version__}",
    }
    if trace_id:
        event["trace_id"] = trace_id
    if report.init_duration_ms is not None:
        event["init_duration"] = int(report.init_duration_ms)
    if after.network_bytes and before.network_bytes:
        received = after.network_bytes[0] - before.network_bytes[0]
        sent = after.network_bytes[1] - before.network_bytes[1]
        event.update(rx_bytes=received, tx_bytes=sent, total_network=received + sent)
    if report.status:  # the environment is reset
        event["shutdown"] = True
        event["shutdown_reason"] = "Timeout" if report.status == "timeout" else "Failure"
        if report.status == "timeout":
            event["timeout"] = True
    return {"_aws": _metadata(event, now_ms), **event}


def log_stream(functions_own: str, function_name: str) -> str:
    """The stream beside a function's own: `2026/01/31/orders[$LATEST]0f…`, one per environment."""
    day, _, rest = functions_own.rpartition("/")
    return f"{day}/{function_name}{rest[rest.index('[') :]}"


def encode(event: dict[str, Any]) -> str:
    """The event as its log line."""
    return json.dumps(event, separators=(",", ":"))


def _metadata(event: dict[str, Any], now_ms: int) -> dict[str, Any]:
    metrics = [{"Name": name, "Unit": unit} for name, unit in _METRICS.items() if name in event]
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["function_name"], ["function_name", "version"]],
        "Metrics": metrics,
    }
    return {
        "Timestamp": now_ms,
        "CloudWatchMetrics": [directive],
        "LambdaInsights": {"ShareTelemetry": True},
    }


def _and_of(found: Usage, pid: int) -> Usage:
    """What was found and what a process has used. Raises OSError when it has ended."""
    stat = _read(pid, "stat").rpartition(b")")[2].split()
    ticks = [int(stat[field]) for field in (_UTIME, _STIME, _CUTIME, _CSTIME)]
    tmp = os.statvfs(f"/proc/{pid}/root/tmp")  # as the process sees it, in its own mounts
    return Usage(
        found.user_ms + (ticks[0] + ticks[2]) * _MS_PER_TICK,
        found.system_ms + (ticks[1] + ticks[3]) * _MS_PER_TICK,
        found.threads + int(stat[_THREADS]),
        found.descriptors + len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 - a number will do
        _descriptors_max(_read(pid, "limits")),
        (tmp.f_bavail * tmp.f_frsize, tmp.f_blocks * tmp.f_frsize),
        _network(pid),
    )


def _descriptors_max(limits: bytes) -> int:
    for line in limits.splitlines():
        if line.startswith(b"Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else 0
    return 0


def _network(pid: int) -> tuple[int, int] | None:
    """Bytes received and sent by an environment that has a network of its own."""
    if os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):  # noqa: PTH115 - no file
        return None
    return parse_network(_read(pid, "net/dev").splitlines()[2:])


def parse_network(lines: Sequence[bytes]) -> tuple[int, int]:
    """Bytes received and sent by all interfaces but the loopback one, of /proc/PID/net/dev."""
    received = sent = 0
    for line in lines:
        name, _, figures = line.partition(b":")
        if name.strip() != b"lo":
            values = figures.split()
            received += int(values[0])
            sent += int(values[8])
    return received, sent


def _read(pid: int, name: str) -> bytes:
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    try:
        return os.read(descriptor, 65_536)
    finally:
        os.close(descriptor)

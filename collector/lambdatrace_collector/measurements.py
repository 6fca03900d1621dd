"""What the collector measures of itself, and how it is read at `/metrics`.

Names are OpenTelemetry's semantic conventions where they have one; what is the collector's own
begins with `lambdatrace.collector`.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace_collector.errors import AwsError, ServiceError
from lambdatrace_collector.exchange import Response
from lambdatrace_collector.metering import (
    SECONDS_BOUNDARIES,
    SIZE_BOUNDARIES,
    Counter,
    Histogram,
    ObservedGauge,
    prometheus_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lambdatrace_collector.exchange import Request
    from lambdatrace_collector.ingest.admission import Admission
    from lambdatrace_collector.ingest.group_commit import GroupCommit, GroupMeters
    from lambdatrace_collector.metering import Attributes, Instrument
    from lambdatrace_collector.store.engine import Store

    Observed = Iterable[tuple[Attributes, float]]

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
# A method that is none of these is counted as _OTHER. Source: semantic conventions, HTTP.
METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})


class RequestMeters:
    """The instruments of HTTP requests. Source: semantic conventions, "HTTP metrics"."""

    def __init__(self) -> None:
        self.active = 0
        self._durations = Histogram(
            "http.server.request.duration", "s", "Time to answer a request.", SECONDS_BOUNDARIES
        )
        self._body_sizes = Histogram(
            "http.server.request.body.size", "By", "Bodies, as they were sent.", SIZE_BOUNDARIES
        )
        self._refused = Counter(
            "lambdatrace.collector.refused", "", "Requests not done, by what it was."
        )
        self.instruments: tuple[Instrument, ...] = (
            self._durations,
            self._body_sizes,
            self._refused,
            ObservedGauge(
                "http.server.active_requests",
                "",
                "Requests that are being taken in or answered.",
                lambda: [((), self.active)],
            ),
        )

    def answered(
        self, request: Request, route: str, status: int, error_type: str, seconds: float
    ) -> None:
        """Count a request; `route` is empty where there is none, `error_type` without an error."""
        method = request.method if request.method in METHODS else "_OTHER"
        attributes = (
            ("http.request.method", method),
            ("http.route", route),
            ("http.response.status_code", str(status)),
        )
        self._durations.record(seconds, *attributes)
        size = request.headers.get("content-length", "")
        if size.isdecimal():
            self._body_sizes.record(int(size), ("http.route", route))
        if error_type:
            self._refused.add(
                1, ("error.type", error_type), ("http.response.status_code", str(status))
            )


def error_type(error: Exception) -> str:
    """What kind of failure it was: AWS's code, or the name of our error."""
    return error.code if isinstance(error, AwsError) else type(error).__name__


class Measurements:
    """All instruments of one collector, used in its event loop."""

    def __init__(
        self,
        store: Store,
        admission: Admission,
        groups: Mapping[str, GroupCommit],
        group_meters: GroupMeters,
    ) -> None:
        self.requests = RequestMeters()
        self._store = store
        self._admission = admission
        self._groups = groups
        self._started = time.monotonic()
        self._engine: dict[str, float] = {}
        self._instruments: tuple[Instrument, ...] = (
            *self.requests.instruments,
            *group_meters.instruments,
            store.durations,
            *self._queues(),
            *self._process(),
            *self._disk_and_engine(),
        )

    async def read(self, _request: Request) -> Response:
        """`GET /metrics`: all instruments in Prometheus' text format."""
        try:
            (self._engine,) = await self._store.query("engine_metrics")
        except ServiceError:
            self._engine = {}  # what is wrong with it is in the other numbers, and in /readyz
        return Response(200, prometheus_text(self._instruments).encode(), PROMETHEUS)

    def _queues(self) -> tuple[Instrument, ...]:
        groups, admission = self._groups, self._admission
        return (
            ObservedGauge(
                "lambdatrace.collector.queue.size",
                "By",
                "Bodies that wait for their group.",
                lambda: [
                    ((("lambdatrace.signal", signal),), group.waiting_bytes)
                    for signal, group in groups.items()
                ],
            ),
            ObservedGauge(
                "lambdatrace.collector.admitted.size",
                "By",
                "Bodies of all requests that were not answered yet.",
                lambda: [((), admission.bytes_admitted)],
            ),
            ObservedGauge(
                "lambdatrace.collector.admitted.limit",
                "By",
                "What these may be; a request beyond it is refused.",
                lambda: [((), admission.bytes_max)],
            ),
        )

    def _process(self) -> tuple[Instrument, ...]:
        """Source: semantic conventions, "Process metrics"."""
        return (
            ObservedGauge(
                "process.memory.usage",
                "By",
                "Memory that is resident.",
                lambda: [((), _resident_bytes())],
            ),
            ObservedGauge(
                "process.cpu.time",
                "s",
                "Processor time of all threads since the start.",
                lambda: [
                    ((("cpu.mode", mode),), value)
                    for mode, value in zip(("user", "system"), os.times()[:2], strict=True)
                ],
            ),
            ObservedGauge(
                "process.uptime",
                "s",
                "Time since the start.",
                lambda: [((), time.monotonic() - self._started)],
            ),
        )

    def _disk_and_engine(self) -> tuple[Instrument, ...]:
        return (
            ObservedGauge(
                "system.filesystem.usage",
                "By",
                "The disk of an embedded store.",
                self._disk,
            ),
            ObservedGauge(
                "lambdatrace.collector.engine.memory.usage",
                "By",
                "Memory that the engine counts as its own.",
                lambda: [((), self._engine["memory_bytes"])] if self._engine else [],
            ),
            ObservedGauge(
                "lambdatrace.collector.engine.parts",
                "",
                "Parts of the store's tables.",
                lambda: (
                    [
                        ((("lambdatrace.part.state", state),), self._engine[state])
                        for state in ("active", "outdated", "merging", "detached")
                    ]
                    if self._engine
                    else []
                ),
            ),
        )

    def _disk(self) -> Observed:
        folder = self._store.url.folder
        if folder is None:
            return []
        try:
            usage = shutil.disk_usage(folder)
        except OSError:
            return []
        return [
            ((("system.filesystem.state", "used"),), usage.used),
            ((("system.filesystem.state", "free"),), usage.free),
        ]


def _resident_bytes() -> int:
    """Source: proc(5), statm; its second number is resident pages."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

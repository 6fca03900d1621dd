from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.ingest.group_commit import GroupCommit, GroupMeters
from lambdatrace_collector.otlp.ingestion import protobuf_insert
from lambdatrace_collector.otlp.log_places import LogPlaces
from lambdatrace_collector.otlp.logs import logs_ingest
from lambdatrace_collector.otlp.metrics import metrics_ingest
from lambdatrace_collector.otlp.signals import LOGS, METRICS, TRACES
from lambdatrace_collector.otlp.traces import traces_ingest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import FromBody, Operation
    from lambdatrace_collector.logs.arrivals import Arrivals
    from lambdatrace_collector.otlp.ingestion import Ingest
    from lambdatrace_collector.otlp.signals import Signal
    from lambdatrace_collector.store.engine import Store


class OtlpGroups:
    """What waits to be stored of the three signals; await `drain` before the store closes."""

    def __init__(self, store: Store, meters: GroupMeters) -> None:
        self._store = store

        def group(signal: str, table: str, message: str) -> GroupCommit:
            insert = protobuf_insert(store, table, message)
            return GroupCommit(insert, signal=signal, meters=meters)

        self._traces = group("traces", "otlp_traces", "TracesData")
        self._logs = group("otlp_logs", "otlp_logs", "LogsInput")
        self._metrics = group("otlp_metrics", "otlp_metrics", "MetricsInput")
        self.by_signal = {
            "traces": self._traces,
            "otlp_logs": self._logs,
            "otlp_metrics": self._metrics,
        }

    def ingests(
        self, operations: Mapping[tuple[str, str], Operation | FromBody], arrivals: Arrivals
    ) -> Mapping[Signal, Ingest]:
        """What stores each signal's requests. `operations` are those that make log groups.

        `arrivals` are told of log events.
        """
        places = LogPlaces(operations)
        self._store.when_emptied(places.forget)
        return {
            TRACES: traces_ingest(self._traces.commit),
            LOGS: logs_ingest(self._logs.commit, places, arrivals),
            METRICS: metrics_ingest(self._metrics.commit),
        }

    async def drain(self) -> None:
        """Refuse new data and write what waits."""
        for group in (self._traces, self._logs, self._metrics):
            await group.drain()

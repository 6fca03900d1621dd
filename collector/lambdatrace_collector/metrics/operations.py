from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.aws.call import FromBody
from lambdatrace_collector.metrics.ingestion import MetricIngestion
from lambdatrace_collector.metrics.metric_data import MetricData
from lambdatrace_collector.metrics.reading import MetricReading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lambdatrace_collector.aws.call import Operation
    from lambdatrace_collector.ingest.record_ids import RecordIds
    from lambdatrace_collector.store.engine import Store

    Commit = Callable[[bytes, int], Awaitable[None]]


def operations(
    store: Store, record_ids: RecordIds, commit: Commit
) -> Mapping[tuple[str, str], Operation | FromBody]:
    """The operations of CloudWatch's metrics. `commit` returns once its samples are stored."""
    reading = MetricReading(store)
    offered: dict[str, Operation | FromBody] = {
        "GetMetricData": MetricData(store).get_metric_data,
        "GetMetricStatistics": reading.get_metric_statistics,
        "ListMetrics": reading.list_metrics,
        "PutMetricData": FromBody(MetricIngestion(record_ids, commit).put_metric_data),
    }
    return {("cloudwatch", name): operation for name, operation in offered.items()}

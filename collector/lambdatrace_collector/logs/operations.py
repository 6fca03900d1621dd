from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.catalog import LogCatalog
from lambdatrace_collector.logs.groups import LogGroups
from lambdatrace_collector.logs.ingestion import LogIngestion
from lambdatrace_collector.logs.insights.queries import InsightsQueries
from lambdatrace_collector.logs.reading import LogReading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lambdatrace_collector.aws.call import FromBody, Operation
    from lambdatrace_collector.ingest.record_ids import RecordIds
    from lambdatrace_collector.store.engine import Store

    Commit = Callable[[bytes, int], Awaitable[None]]


def operations(
    store: Store, record_ids: RecordIds, commit: Commit
) -> Mapping[tuple[str, str], Operation | FromBody]:
    """The operations of CloudWatch Logs. `commit` returns once its log events are stored."""
    groups = LogGroups(store)
    catalog = LogCatalog(store, groups)
    ingestion = LogIngestion(groups, record_ids, commit)
    reading = LogReading(store, groups)
    insights = InsightsQueries(store, groups)
    offered: dict[str, Operation | FromBody] = {
        "CreateLogGroup": catalog.create_log_group,
        "CreateLogStream": catalog.create_log_stream,
        "DescribeLogGroups": catalog.describe_log_groups,
        "DescribeLogStreams": catalog.describe_log_streams,
        "DescribeQueries": insights.describe_queries,
        "FilterLogEvents": reading.filter_log_events,
        "GetLogEvents": reading.get_log_events,
        "GetLogRecord": insights.get_log_record,
        "GetQueryResults": insights.get_query_results,
        "PutLogEvents": ingestion.put_log_events,
        "StartQuery": insights.start_query,
        "StopQuery": insights.stop_query,
    }
    return {("logs", name): operation for name, operation in offered.items()}

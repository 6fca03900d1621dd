from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from lambdatrace_collector.aws.call import FromBody
from lambdatrace_collector.errors import CollectorError
from lambdatrace_collector.logs.arrivals import Arrivals
from lambdatrace_collector.logs.catalog import LogCatalog
from lambdatrace_collector.logs.definitions import (
    METRIC_FILTER,
    SUBSCRIPTION_FILTER,
    Definitions,
)
from lambdatrace_collector.logs.delivery import Deliveries
from lambdatrace_collector.logs.destinations import Destinations
from lambdatrace_collector.logs.filter_followers import FilterFollowers
from lambdatrace_collector.logs.groups import LogGroups
from lambdatrace_collector.logs.ingestion import LogIngestion
from lambdatrace_collector.logs.insights.queries import InsightsQueries
from lambdatrace_collector.logs.live_tail import LiveTail
from lambdatrace_collector.logs.metric_filter_work import DefaultValues, MetricFilterSamples
from lambdatrace_collector.logs.metric_filters import MetricFilters
from lambdatrace_collector.logs.query_definitions import QueryDefinitions
from lambdatrace_collector.logs.reading import LogReading
from lambdatrace_collector.logs.subscription_filters import (
    SubscriptionDelivery,
    SubscriptionFilters,
)
from lambdatrace_collector.logs.tags import LogTags

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lambdatrace_collector.aws.call import Operation
    from lambdatrace_collector.ingest.record_ids import RecordIds
    from lambdatrace_collector.store.engine import Store

    Commit = Callable[[bytes, int], Awaitable[None]]

logger = logging.getLogger(__name__)

RETENTION_INTERVAL_S = 3600
START_RETRY_S = 5


class LogService:
    """CloudWatch Logs: its operations, and what it does by itself until `close`.

    `commit` returns once its log events are stored. Whoever writes events of its own takes their
    first id from `arrivals`, which tells those who follow the group.
    """

    def __init__(
        self,
        store: Store,
        record_ids: RecordIds,
        commit: Commit,
        aws_endpoint: str | None,
    ) -> None:
        self.arrivals = Arrivals(record_ids)
        self._definitions = Definitions(store)
        samples = MetricFilterSamples(store)
        self._metric_filters = FilterFollowers(
            METRIC_FILTER, self._definitions, self.arrivals, samples.handle
        )
        self._defaults = DefaultValues(samples, self._metric_filters, self.arrivals)
        self._deliveries = Deliveries(aws_endpoint)
        self._delivery = SubscriptionDelivery(store, self._definitions, self._deliveries)
        self._subscriptions = FilterFollowers(
            SUBSCRIPTION_FILTER, self._definitions, self.arrivals, self._delivery.handle
        )
        self._followers = (self._metric_filters, self._subscriptions)
        drops = [followers.drop_group for followers in self._followers]
        self.groups = LogGroups(store, self.arrivals, drops)
        self.operations = self._operations(store, commit)
        for followers in self._followers:
            store.when_emptied(followers.forget)
        self._tasks = [
            asyncio.create_task(self._start(), name="log-filters"),
            asyncio.create_task(self._defaults.run(), name="log-default-values"),
            asyncio.create_task(self._expire(), name="log-retention"),
        ]

    async def close(self) -> None:
        """Stop what follows the groups, and keep how far it has come."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for followers in self._followers:
            await followers.close()
        self._deliveries.close()

    def _operations(
        self, store: Store, commit: Commit
    ) -> Mapping[tuple[str, str], Operation | FromBody]:
        groups, definitions = self.groups, self._definitions
        catalog = LogCatalog(store, groups, definitions)
        reading = LogReading(store, groups)
        tags = LogTags(groups, definitions)
        metric_filters = MetricFilters(store, groups, definitions, reading, self._metric_filters)
        destinations = Destinations(definitions)
        subscriptions = SubscriptionFilters(
            groups, definitions, reading, self._subscriptions, self._delivery, self._deliveries
        )
        live_tail = LiveTail(store, groups, self.arrivals, reading)
        queries = QueryDefinitions(definitions)
        insights = InsightsQueries(store, groups)
        offered: dict[str, Operation | FromBody] = {
            "AssociateKmsKey": catalog.associate_kms_key,
            "CreateLogGroup": catalog.create_log_group,
            "CreateLogStream": catalog.create_log_stream,
            "DeleteDestination": destinations.delete_destination,
            "DeleteLogGroup": catalog.delete_log_group,
            "DeleteLogStream": catalog.delete_log_stream,
            "DeleteMetricFilter": metric_filters.delete_metric_filter,
            "DeleteQueryDefinition": queries.delete_query_definition,
            "DeleteResourcePolicy": destinations.delete_resource_policy,
            "DeleteRetentionPolicy": catalog.delete_retention_policy,
            "DeleteSubscriptionFilter": subscriptions.delete_subscription_filter,
            "DescribeDestinations": destinations.describe_destinations,
            "DescribeLogGroups": catalog.describe_log_groups,
            "DescribeLogStreams": catalog.describe_log_streams,
            "DescribeMetricFilters": metric_filters.describe_metric_filters,
            "DescribeQueries": insights.describe_queries,
            "DescribeQueryDefinitions": queries.describe_query_definitions,
            "DescribeResourcePolicies": destinations.describe_resource_policies,
            "DescribeSubscriptionFilters": subscriptions.describe_subscription_filters,
            "DisassociateKmsKey": catalog.disassociate_kms_key,
            "FilterLogEvents": reading.filter_log_events,
            "GetLogEvents": reading.get_log_events,
            "GetLogGroupFields": reading.get_log_group_fields,
            "GetLogRecord": insights.get_log_record,
            "GetQueryResults": insights.get_query_results,
            "ListLogGroups": catalog.list_log_groups,
            "ListTagsForResource": tags.list_tags_for_resource,
            "ListTagsLogGroup": tags.list_tags_log_group,
            "PutDestination": destinations.put_destination,
            "PutDestinationPolicy": destinations.put_destination_policy,
            "PutLogEvents": FromBody(LogIngestion(groups, self.arrivals, commit).put_log_events),
            "PutLogGroupDeletionProtection": catalog.put_log_group_deletion_protection,
            "PutMetricFilter": metric_filters.put_metric_filter,
            "PutQueryDefinition": queries.put_query_definition,
            "PutResourcePolicy": destinations.put_resource_policy,
            "PutRetentionPolicy": catalog.put_retention_policy,
            "PutSubscriptionFilter": subscriptions.put_subscription_filter,
            "StartLiveTail": live_tail.start_live_tail,
            "StartQuery": insights.start_query,
            "StopQuery": insights.stop_query,
            "TagLogGroup": tags.tag_log_group,
            "TagResource": tags.tag_resource,
            "TestMetricFilter": metric_filters.test_metric_filter,
            "UntagLogGroup": tags.untag_log_group,
            "UntagResource": tags.untag_resource,
        }
        return {("logs", name): operation for name, operation in offered.items()}

    async def _start(self) -> None:
        """Go on with the filters that the store holds, once it answers."""
        while True:
            try:
                for followers in self._followers:
                    await followers.start()
            except CollectorError as error:
                logger.warning("log filters wait for the store: %s", error)
                await asyncio.sleep(START_RETRY_S)
            else:
                return

    async def _expire(self) -> None:
        """Delete what is older than its group keeps it, from time to time."""
        while True:
            try:
                await self.groups.delete_expired(time.time_ns() // 1_000_000)
            except CollectorError as error:
                logger.warning("expired log events stay for now: %s", error)
            await asyncio.sleep(RETENTION_INTERVAL_S)

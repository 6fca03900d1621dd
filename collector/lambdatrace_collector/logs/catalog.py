"""CreateLogGroup, CreateLogStream, DescribeLogGroups and DescribeLogStreams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.groups import group_arn, group_name, name_of_identifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.groups import LogGroups
    from lambdatrace_collector.store.engine import Store

PAGE_MAX = 50  # source: CloudWatch Logs API reference, `limit` of the Describe operations


class LogCatalog:
    """The operations that make and list log groups and streams."""

    def __init__(self, store: Store, groups: LogGroups) -> None:
        self._store = store
        self._groups = groups

    async def create_log_group(self, call: Call) -> Mapping[str, Any]:
        """CreateLogGroup."""
        parameters = call.parameters
        await self._groups.create_group(
            call, parameters["logGroupName"], parameters.get("logGroupClass", "STANDARD")
        )
        return {}

    async def create_log_stream(self, call: Call) -> Mapping[str, Any]:
        """CreateLogStream."""
        parameters = call.parameters
        await self._groups.create_stream(
            call, parameters["logGroupName"], parameters["logStreamName"]
        )
        return {}

    async def describe_log_groups(self, call: Call) -> Mapping[str, Any]:
        """DescribeLogGroups: by name, at most 50 per page."""
        parameters = call.parameters
        if "logGroupNamePrefix" in parameters and "logGroupNamePattern" in parameters:
            raise AwsError(
                "InvalidParameterException",
                "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
            )
        token = parameters.get("nextToken")
        (after,) = decode_token(token, str, invalid=_invalid_token) if token else ("",)
        limit = parameters.get("limit", PAGE_MAX)
        names = [name_of_identifier(name) for name in parameters.get("logGroupIdentifiers", ())]
        rows = await self._store.query(
            "log_groups",
            account=call.account,
            region=call.region,
            after=after,
            prefix=parameters.get("logGroupNamePrefix", ""),
            part=parameters.get("logGroupNamePattern", ""),
            log_group_class=parameters.get("logGroupClass", ""),
            names=names,
            page_max=limit + 1,
        )
        page = rows[:limit]
        sizes = await self._store.query(
            "log_group_sizes",
            account=call.account,
            region=call.region,
            names=[row["log_group"] for row in page],
        )
        stored_bytes = {row["log_group"]: row["stored_bytes"] for row in sizes}
        return {
            "logGroups": [
                _log_group(call, row, stored_bytes.get(row["log_group"], 0)) for row in page
            ],
            "nextToken": encode_token(page[-1]["log_group"]) if len(rows) > limit else None,
        }

    async def describe_log_streams(self, call: Call) -> Mapping[str, Any]:
        """DescribeLogStreams: by name or by the last event's time, at most 50 per page."""
        parameters = call.parameters
        group = group_name(parameters)
        by_time = parameters.get("orderBy", "LogStreamName") == "LastEventTime"
        if by_time and "logStreamNamePrefix" in parameters:
            raise AwsError(
                "InvalidParameterException",
                "Cannot order by LastEventTime with a logStreamNamePrefix.",
            )
        await self._groups.require_group(call, group)
        token = parameters.get("nextToken")
        after_ms, after = (
            decode_token(token, int, str, invalid=_invalid_token) if token else (0, "")
        )
        limit = parameters.get("limit", PAGE_MAX)
        rows = await self._store.query(
            "log_streams",
            account=call.account,
            region=call.region,
            log_group=group,
            prefix=parameters.get("logStreamNamePrefix", ""),
            by_time=by_time,
            descending=parameters.get("descending", False),
            is_first_page=token is None,
            after_ms=after_ms,
            after=after,
            page_max=limit + 1,
        )
        page = rows[:limit]
        return {
            "logStreams": [_log_stream(call, group, row) for row in page],
            "nextToken": (
                encode_token(page[-1]["sort_ms"], page[-1]["log_stream"])
                if len(rows) > limit
                else None
            ),
        }


def _log_group(call: Call, row: Mapping[str, Any], stored_bytes: int) -> dict[str, Any]:
    arn = group_arn(call, row["log_group"])
    return {
        "logGroupName": row["log_group"],
        "creationTime": row["creation_ms"],
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "storedBytes": stored_bytes,
        "logGroupClass": row["log_group_class"],
        "logGroupArn": arn,
        "deletionProtectionEnabled": False,
        "bearerTokenAuthenticationEnabled": False,
    }


def _log_stream(call: Call, group: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "logStreamName": row["log_stream"],
        "creationTime": row["created_ms"],
        "firstEventTimestamp": row["first_ms"],
        "lastEventTimestamp": row["last_ms"],
        "lastIngestionTime": row["ingested_ms"],
        "arn": f"{group_arn(call, group)}:log-stream:{row['log_stream']}",
        "storedBytes": 0,  # AWS answers 0 since 2019
    }


def _invalid_token() -> AwsError:
    return AwsError("InvalidParameterException", "The specified nextToken is invalid.")

"""The operations that make, list, change and delete log groups and streams."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.definitions import METRIC_FILTER
from lambdatrace_collector.logs.groups import (
    LogGroup,
    group_arn,
    group_name,
    name_of_identifier,
)
from lambdatrace_collector.logs.tags import checked_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.definitions import Definitions
    from lambdatrace_collector.logs.groups import LogGroups
    from lambdatrace_collector.store.engine import Store

# Source: CloudWatch Logs API reference, `limit` of the Describe and List operations.
PAGE_MAX = 50
LIST_PAGE_MAX = 1000
# Source: the same, PutRetentionPolicy.
RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

_NAME_PATTERN = re.compile(r"\^?[A-Za-z0-9._/#-]{3,24}(?:\|\^?[A-Za-z0-9._/#-]{3,24}){0,4}")


class LogCatalog:
    """The operations on log groups and streams."""

    def __init__(self, store: Store, groups: LogGroups, definitions: Definitions) -> None:
        self._store = store
        self._groups = groups
        self._definitions = definitions

    async def create_log_group(self, call: Call) -> Mapping[str, Any]:
        """CreateLogGroup."""
        parameters = call.parameters
        group = LogGroup(
            log_group=parameters["logGroupName"],
            creation_ms=call.now_ms,
            log_group_class=parameters.get("logGroupClass", "STANDARD"),
            is_deletion_protected=parameters.get("deletionProtectionEnabled", False),
            kms_key_id=parameters.get("kmsKeyId", ""),
            tags=checked_tags({}, parameters.get("tags", {})),
        )
        await self._groups.create_group(call, group)
        return {}

    async def delete_log_group(self, call: Call) -> Mapping[str, Any]:
        """DeleteLogGroup. Answers when its streams, events and filters are gone."""
        await self._groups.delete_group(call, call.parameters["logGroupName"])
        return {}

    async def delete_log_stream(self, call: Call) -> Mapping[str, Any]:
        """DeleteLogStream. Answers when its events are gone."""
        parameters = call.parameters
        await self._groups.delete_stream(
            call, parameters["logGroupName"], parameters["logStreamName"]
        )
        return {}

    async def put_log_group_deletion_protection(self, call: Call) -> Mapping[str, Any]:
        """PutLogGroupDeletionProtection."""
        await self._groups.update_group(
            call,
            name_of_identifier(call.parameters["logGroupIdentifier"]),
            is_deletion_protected=call.parameters["deletionProtectionEnabled"],
        )
        return {}

    async def put_retention_policy(self, call: Call) -> Mapping[str, Any]:
        """PutRetentionPolicy. What is older is no more answered, and deleted at once."""
        group, days = call.parameters["logGroupName"], call.parameters["retentionInDays"]
        if days not in RETENTION_DAYS:
            allowed = ", ".join(str(allowed) for allowed in RETENTION_DAYS)
            raise AwsError(
                "InvalidParameterException",
                f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to"
                f" satisfy constraint: Member must satisfy enum value set: [{allowed}]",
            )
        await self._groups.update_group(call, group, retention_days=days)
        await self._groups.delete_expired(call.now_ms, group)
        return {}

    async def delete_retention_policy(self, call: Call) -> Mapping[str, Any]:
        """DeleteRetentionPolicy."""
        await self._groups.update_group(call, call.parameters["logGroupName"], retention_days=0)
        return {}

    async def associate_kms_key(self, call: Call) -> Mapping[str, Any]:
        """AssociateKmsKey: the key is kept and shown; the store encrypts nothing by itself."""
        await self._groups.update_group(
            call, _kms_group(call), kms_key_id=call.parameters["kmsKeyId"]
        )
        return {}

    async def disassociate_kms_key(self, call: Call) -> Mapping[str, Any]:
        """DisassociateKmsKey."""
        await self._groups.update_group(call, _kms_group(call), kms_key_id="")
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
            regex="",
            log_group_class=parameters.get("logGroupClass", ""),
            names=names,
            page_max=limit + 1,
        )
        page = rows[:limit]
        found = [row["log_group"] for row in page]
        filters = await self._definitions.counts(call, METRIC_FILTER, found)
        sizes = await self._store.query(
            "log_group_sizes", account=call.account, region=call.region, names=found
        )
        stored_bytes = {row["log_group"]: row["stored_bytes"] for row in sizes}
        return {
            "logGroups": [
                _log_group(
                    call,
                    LogGroup(**row),
                    stored_bytes.get(row["log_group"], 0),
                    filters.get(row["log_group"], 0),
                )
                for row in page
            ],
            "nextToken": encode_token(page[-1]["log_group"]) if len(rows) > limit else None,
        }

    async def list_log_groups(self, call: Call) -> Mapping[str, Any]:
        """ListLogGroups: by a pattern of names, `^a|b`."""
        parameters = call.parameters
        for name in ("dataSources", "fieldIndexNames", "logGroupTags"):
            if name in parameters:
                raise AwsError(
                    "InvalidParameterException", f"{name} is not supported by this collector."
                )
        pattern = parameters.get("logGroupNamePattern", "")
        if pattern and not _NAME_PATTERN.fullmatch(pattern):
            raise AwsError(
                "InvalidParameterException",
                f"logGroupNamePattern is '{pattern}': expected up to 5 parts of names, of 3 to 24"
                " characters, with | between them and ^ in front of what starts a name",
            )
        token = parameters.get("nextToken")
        (after,) = decode_token(token, str, invalid=_invalid_token) if token else ("",)
        limit = parameters.get("limit", PAGE_MAX)
        rows = await self._store.query(
            "log_groups",
            account=call.account,
            region=call.region,
            after=after,
            prefix="",
            part="",
            regex=pattern.replace(".", r"\."),
            log_group_class=parameters.get("logGroupClass", ""),
            names=[],
            page_max=limit + 1,
        )
        page = rows[:limit]
        return {
            "logGroups": [
                {
                    "logGroupName": row["log_group"],
                    "logGroupArn": group_arn(call, row["log_group"]),
                    "logGroupClass": row["log_group_class"],
                }
                for row in page
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


def _log_group(
    call: Call, group: LogGroup, stored_bytes: int, metric_filters: int
) -> dict[str, Any]:
    arn = group_arn(call, group.log_group)
    return {
        "logGroupName": group.log_group,
        "creationTime": group.creation_ms,
        "retentionInDays": group.retention_days or None,
        "metricFilterCount": metric_filters,
        "arn": f"{arn}:*",
        "storedBytes": stored_bytes,
        "kmsKeyId": group.kms_key_id or None,
        "logGroupClass": group.log_group_class,
        "logGroupArn": arn,
        "deletionProtectionEnabled": group.is_deletion_protected,
        "bearerTokenAuthenticationEnabled": False,
    }


def _kms_group(call: Call) -> str:
    name, identifier = (
        call.parameters.get("logGroupName"),
        call.parameters.get("resourceIdentifier"),
    )
    return group_name({"logGroupName": name, "logGroupIdentifier": identifier})


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

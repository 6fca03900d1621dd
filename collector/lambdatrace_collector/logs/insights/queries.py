"""StartQuery, GetQueryResults, StopQuery, DescribeQueries and GetLogRecord."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.errors import (
    AwsError,
    ScanCancelledError,
    ScanTimeoutError,
    ServiceError,
    StoreUnavailableError,
)
from lambdatrace_collector.logs.groups import expiry_ms, name_of_identifier
from lambdatrace_collector.logs.insights.history import (
    InsightsQuery,
    QueryHistory,
    result_size,
)
from lambdatrace_collector.logs.insights.named_fields import regexes_of
from lambdatrace_collector.logs.insights.parser import parse_query
from lambdatrace_collector.logs.insights.planner import Plan, plan_query
from lambdatrace_collector.logs.insights.records import record_fields
from lambdatrace_collector.logs.insights.results import shown_rows
from lambdatrace_collector.logs.insights.selection import Selection
from lambdatrace_collector.logs.insights.syntax import Query, QuerySyntaxError, Source
from lambdatrace_collector.logs.insights.tree_builder import LIMIT_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.groups import LogGroups
    from lambdatrace_collector.store.engine import Store

logger = logging.getLogger(__name__)

GROUPS_MAX = 50  # source: StartQuery, logGroupNames and logGroupIdentifiers
SOURCE_GROUPS_MAX = 10_000  # source: the user guide, `SOURCE`
DESCRIBED_MAX = 1_000
PAGE_MAX = 10_000  # source: GetQueryResults, maxItems
CANNOT_COMPILE_REGEXP = 427  # the engine's error code
LATEST_S = 9_999_999_999  # a day in 2286; times in seconds, of which milliseconds are made

_POINTER = re.compile(r"(\d{1,19})/(\d{1,39})/([.\-_/#A-Za-z0-9]{1,512})")
_ENGINE_REASON = re.compile(r", error: (.*?)\. Look at")


class InsightsQueries:
    """The operations of Logs Insights; queries run in the store as scans."""

    def __init__(self, store: Store, groups: LogGroups) -> None:
        self._store = store
        self._groups = groups
        self._history = QueryHistory()
        store.when_emptied(self._history.clear)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start_query(self, call: Call) -> Mapping[str, Any]:
        """StartQuery. Raises AwsError MalformedQueryException for what is not in the language."""
        parameters = call.parameters
        text = parameters["queryString"]
        language = parameters.get("queryLanguage", "CWLI")
        if language != "CWLI":
            raise AwsError(
                "InvalidParameterException",
                f"The query language {language} is not supported by this collector: use CWLI.",
            )
        start_s, end_s = parameters["startTime"], parameters["endTime"]
        if start_s > end_s:
            raise AwsError(
                "InvalidParameterException", "The start time must not be after the end time."
            )
        try:
            query = parse_query(text)
            retentions = await self._query_groups(call, query.source)
            groups = tuple(retentions)
            selection = Selection(
                call.account,
                call.region,
                groups,
                _milliseconds(start_s),
                _milliseconds(end_s) + 999,  # to the end of the second
                call.now_ms // 1000,
                tuple(
                    (group, expiry_ms(days, call.now_ms))
                    for group, days in retentions.items()
                    if days
                ),
            )
            plan = plan_query(query, text, selection, parameters.get("limit", LIMIT_MAX))
            await self._require_regexes(query)
        except QuerySyntaxError as error:
            raise _malformed(error) from None
        started = InsightsQuery(
            query_id=str(uuid.uuid4()),
            account=call.account,
            region=call.region,
            text=_described(text, query, groups, selection),
            groups=groups,
            created_ms=call.now_ms,
        )
        self._history.add(started)
        task = asyncio.create_task(self._run(started, plan))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"queryId": started.query_id}

    async def get_query_results(self, call: Call) -> Mapping[str, Any]:
        """GetQueryResults: the status, and once Complete the rows, a page of them."""
        parameters = call.parameters
        query = self._history.find(call, parameters["queryId"])
        token = parameters.get("nextToken")
        (start,) = decode_token(token, int, invalid=_invalid_token) if token else (0,)
        end = start + (parameters.get("maxItems") or PAGE_MAX)
        return {
            "queryLanguage": "CWLI",
            "results": query.results[start:end],
            "statistics": query.statistics or _NOTHING_SCANNED,
            "status": query.status,
            "nextToken": encode_token(end) if end < len(query.results) else None,
        }

    async def stop_query(self, call: Call) -> Mapping[str, Any]:
        """StopQuery: ends the query in the engine too; an error when it has ended before."""
        query = self._history.find(call, call.parameters["queryId"])
        if not query.is_under_way:
            raise AwsError(
                "InvalidParameterException",
                f"Query {query.query_id} is not running: its status is {query.status}.",
            )
        query.end("Cancelled", call.now_ms)
        await self._store.scans.cancel(query.query_id)
        return {"success": True}

    async def describe_queries(self, call: Call) -> Mapping[str, Any]:
        """DescribeQueries: newest first, of a group or status when one is given."""
        parameters = call.parameters
        group = parameters.get("logGroupName")
        status, language = parameters.get("status"), parameters.get("queryLanguage", "CWLI")
        found = [
            query
            for query in self._history.newest_first(call)
            if group in (None, *query.groups)
            and status in (None, query.status)
            and language == "CWLI"
        ]
        token = parameters.get("nextToken")
        (start,) = decode_token(token, int, invalid=_invalid_token) if token else (0,)
        end = start + parameters.get("maxResults", DESCRIBED_MAX)
        return {
            "queries": [_description(query, call.now_ms) for query in found[start:end]],
            "nextToken": encode_token(end) if end < len(found) else None,
        }

    async def get_log_record(self, call: Call) -> Mapping[str, Any]:
        """GetLogRecord: all fields of the event that a `@ptr` names."""
        place = _place(call.parameters["logRecordPointer"])
        if place is None:
            raise AwsError(
                "InvalidParameterException", "The specified log record pointer is invalid."
            )
        timestamp_ms, event_id, name = place
        group = await self._groups.require_group(call, name)
        rows = await self._store.query(
            "log_record",
            account=call.account,
            region=call.region,
            log_group=name,
            timestamp_ms=timestamp_ms,
            event_id=event_id,
        )
        if not rows or timestamp_ms < expiry_ms(group.retention_days, call.now_ms):
            raise AwsError("ResourceNotFoundException", "The specified log record does not exist.")
        pointer = call.parameters["logRecordPointer"]
        return {"logRecord": {**record_fields(call.account, name, rows[0]), "@ptr": pointer}}

    async def _run(self, query: InsightsQuery, plan: Plan) -> None:
        """Run a query to its end, whatever that is."""

        def started() -> None:
            if query.status == "Scheduled":
                query.status = "Running"

        scans = (plan.select, *plan.scanned, *plan.matched)
        scanned_end = 1 + len(plan.scanned)
        try:
            found = await self._store.scans.run(scans, query.query_id, started)
            rows = found[0]
            scanned = [total for [total] in found[1:scanned_end]]
            matched = [total["matched"] for [total] in found[scanned_end:]]
            records = sum(total["records"] for total in scanned)
            query.results = shown_rows(plan, rows)
            query.result_bytes = result_size(query.results)
            query.statistics = {
                **_NOTHING_SCANNED,
                "recordsMatched": float(sum(matched) if plan.matched else records),
                "recordsScanned": float(records),
                "bytesScanned": float(sum(total["bytes"] for total in scanned)),
                "logGroupsScanned": float(len(query.groups)),
                "resultCount": float(len(query.results)),
            }
            query.end("Complete", _now_ms())
        except ScanTimeoutError:
            query.end("Timeout", _now_ms())
        except ScanCancelledError:
            query.end("Cancelled", _now_ms())
        except ServiceError as error:
            logger.warning("query %s failed: %s", query.query_id, error)
            query.end("Failed", _now_ms())
        except Exception:
            # A task has no one who asks for its exception: the log has it, the client a status.
            logger.exception("query %s failed", query.query_id)
            query.end("Failed", _now_ms())

    async def _query_groups(self, call: Call, source: Source | None) -> dict[str, int]:
        """The groups that the call, or the query's SOURCE, is about: names and days of retention.

        Raises AwsError ResourceNotFoundException, or InvalidParameterException.
        """
        parameters = call.parameters
        given = [
            name
            for name in ("logGroupName", "logGroupNames", "logGroupIdentifiers")
            if parameters.get(name)
        ]
        if len(given) + (source is not None) != 1:
            raise AwsError(
                "InvalidParameterException",
                "Exactly one of logGroupName, logGroupNames, logGroupIdentifiers, or a SOURCE"
                " command in the query, is expected: there are"
                f" {len(given) + (source is not None)}.",
            )
        if source is not None and not source.is_by_name:
            return await self._groups_of(call, source)
        value = source.names if source is not None else parameters[given[0]]
        names = [value] if isinstance(value, str) else list(value)
        unique = tuple(dict.fromkeys(name_of_identifier(name).removesuffix(":*") for name in names))
        if len(unique) > GROUPS_MAX:
            raise AwsError(
                "InvalidParameterException",
                f"There are {len(unique)} log groups: at most {GROUPS_MAX} can be queried.",
            )
        known = _retentions(await self._group_rows(call, names=list(unique)))
        missing = [name for name in unique if name not in known]
        if missing:
            raise AwsError(
                "ResourceNotFoundException",
                f"Log group '{missing[0]}' does not exist for account ID '{call.account}'",
            )
        return {name: known[name] for name in unique}

    async def _groups_of(self, call: Call, source: Source) -> dict[str, int]:
        if source.accounts and call.account not in source.accounts:
            return {}
        found: dict[str, int] = {}
        for group_class in source.classes or ("STANDARD",):
            for prefix in source.prefixes or ("",):
                rows = await self._group_rows(call, prefix=prefix, group_class=group_class)
                found.update(_retentions(rows))
        if len(found) > SOURCE_GROUPS_MAX:
            raise AwsError(
                "InvalidParameterException",
                f"SOURCE selects over {SOURCE_GROUPS_MAX} log groups: name fewer of them.",
            )
        return found

    async def _group_rows(
        self, call: Call, *, names: list[str] | None = None, prefix: str = "", group_class: str = ""
    ) -> list[dict[str, Any]]:
        return await self._store.query(
            "log_groups",
            account=call.account,
            region=call.region,
            after="",
            prefix=prefix,
            part="",
            regex="",
            log_group_class=group_class,
            names=names or [],
            page_max=SOURCE_GROUPS_MAX + 1,
        )

    async def _require_regexes(self, query: Query) -> None:
        """Raise QuerySyntaxError for a regular expression that the engine cannot run."""
        for regex in regexes_of(query):
            try:
                await self._store.query("regexes_compile", regexes=[regex.pattern])
            except StoreUnavailableError as error:
                cause = error.__cause__
                if getattr(cause, "code", None) != CANNOT_COMPILE_REGEXP:
                    raise
                reason = _ENGINE_REASON.search(str(cause))
                raise QuerySyntaxError(
                    f"not a regular expression of RE2: {reason[1] if reason else cause}", regex.span
                ) from error


_NOTHING_SCANNED = {
    "recordsMatched": 0.0,
    "recordsScanned": 0.0,
    "estimatedRecordsSkipped": 0.0,
    "bytesScanned": 0.0,
    "estimatedBytesSkipped": 0.0,
    "logGroupsScanned": 0.0,
}


def _retentions(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {row["log_group"]: row["retention_days"] for row in rows}


def _malformed(error: QuerySyntaxError) -> AwsError:
    location = {"startCharOffset": error.span.start, "endCharOffset": error.span.end}
    return AwsError(
        "MalformedQueryException",
        error.message,
        members={"queryCompileError": {"location": location, "message": error.message}},
    )


def _milliseconds(seconds: int) -> int:
    """Times are seconds; what is far too late for that is taken for milliseconds, as by AWS."""
    return seconds // 1000 * 1000 if seconds > LATEST_S else seconds * 1000


def _described(text: str, query: Query, groups: tuple[str, ...], selection: Selection) -> str:
    """The query as DescribeQueries has it: with its groups and times in front."""
    if query.source is not None:
        return text
    quoted = ", ".join(json.dumps(group) for group in groups)
    return f"SOURCE {quoted} START={selection.start_ms} END={selection.end_ms} | {text}"


def _description(query: InsightsQuery, now_ms: int) -> dict[str, Any]:
    ended_ms = query.ended_ms if query.ended_ms is not None else now_ms
    return {
        "queryLanguage": "CWLI",
        "queryId": query.query_id,
        "queryString": query.text,
        "status": query.status,
        "createTime": query.created_ms,
        "logGroupName": query.groups[0] if query.groups else None,
        "queryDuration": max(ended_ms - query.created_ms, 0),
        "bytesScanned": query.statistics.get("bytesScanned", 0.0),
    }


def _place(pointer: str) -> tuple[int, int, str] | None:
    """The time, id and group of the event that a pointer names; None when it is none of ours."""
    try:
        text = base64.b64decode(pointer, validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        return None
    match = _POINTER.fullmatch(text)
    if match is None or int(match[1]) >= 2**63 or int(match[2]) >= 2**128:
        return None
    return int(match[1]), int(match[2]), match[3]


def _invalid_token() -> AwsError:
    return AwsError("InvalidParameterException", "The specified nextToken is invalid.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

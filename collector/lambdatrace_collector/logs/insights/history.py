"""Queries that were started, and the results of those that ended, in memory.

They are kept for an hour, at most 1,000 and 64 MB of results of them, the newest ones: a query that
is not there any more is unknown to GetQueryResults. CloudWatch keeps them for seven days.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace_collector.aws.call import Call

QUERIES_MAX = 1_000
RESULT_BYTES_MAX = 64_000_000
KEPT_MS = 3_600_000
RUNNING_MAX = 100  # source: CloudWatch Logs quotas, "Logs Insights QL concurrent queries"

UNDER_WAY = ("Scheduled", "Running")


@dataclass
class InsightsQuery:
    """One query: what was asked, how far it is, and what it gave."""

    query_id: str
    account: str
    region: str
    text: str
    groups: tuple[str, ...]
    created_ms: int
    status: str = "Scheduled"
    ended_ms: int | None = None
    results: list[list[dict[str, str]]] = field(default_factory=list)
    statistics: dict[str, float] = field(default_factory=dict)
    result_bytes: int = 0

    @property
    def is_under_way(self) -> bool:
        """Whether there is no outcome yet."""
        return self.status in UNDER_WAY

    def end(self, status: str, now_ms: int) -> None:
        """Note the outcome; the first one stands."""
        if self.is_under_way:
            self.status = status
            self.ended_ms = now_ms


class QueryHistory:
    """The queries that are known, oldest first."""

    def __init__(self) -> None:
        self._queries: dict[str, InsightsQuery] = {}

    def add(self, query: InsightsQuery) -> None:
        """Remember a new query. Raises AwsError LimitExceededException when too many run."""
        running = sum(1 for each in self._of(query.account, query.region) if each.is_under_way)
        if running >= RUNNING_MAX:
            raise AwsError(
                "LimitExceededException",
                f"{running} queries are running, the limit is {RUNNING_MAX} concurrent queries:"
                " try again when some have ended, or stop one.",
            )
        self._queries[query.query_id] = query
        self.forget(query.created_ms)

    def find(self, call: Call, query_id: str) -> InsightsQuery:
        """The query of this id. Raises AwsError ResourceNotFoundException."""
        self.forget(call.now_ms)
        query = self._queries.get(query_id)
        if query is None or (query.account, query.region) != (call.account, call.region):
            raise AwsError(
                "ResourceNotFoundException", f"The query with id {query_id} does not exist."
            )
        return query

    def newest_first(self, call: Call) -> Iterator[InsightsQuery]:
        """The queries of the call's account and region."""
        self.forget(call.now_ms)
        return reversed([*self._of(call.account, call.region)])

    def forget(self, now_ms: int) -> None:
        """Forget the oldest that ended, as far as they are too old or too many, or too large."""
        total = sum(query.result_bytes for query in self._queries.values())
        for query in list(self._queries.values()):
            if query.is_under_way:
                continue
            is_old = query.created_ms < now_ms - KEPT_MS
            if not is_old and len(self._queries) <= QUERIES_MAX and total <= RESULT_BYTES_MAX:
                return
            total -= query.result_bytes
            del self._queries[query.query_id]

    def clear(self) -> None:
        """Forget all that ended."""
        self._queries = {
            query.query_id: query for query in self._queries.values() if query.is_under_way
        }

    def _of(self, account: str, region: str) -> list[InsightsQuery]:
        return [
            query
            for query in self._queries.values()
            if (query.account, query.region) == (account, region)
        ]


def result_size(rows: list[list[dict[str, Any]]]) -> int:
    """About how many bytes rows take in memory: their text, and 200 for each field's objects."""
    return sum(len(item["field"]) + len(item["value"]) + 200 for row in rows for item in row)

"""What users define beside log groups and streams, each a JSON document known by kind and name."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.store.engine import Store

METRIC_FILTER = "metric filter"
SUBSCRIPTION_FILTER = "subscription filter"
DESTINATION = "destination"
RESOURCE_POLICY = "resource policy"
ACCOUNT_POLICY = "account policy"
DATA_PROTECTION_POLICY = "data protection policy"
INDEX_POLICY = "index policy"
QUERY_DEFINITION = "query definition"
RESOURCE_TAGS = "tags"
CURSOR = "cursor"

PAGE_MAX = 50  # source: CloudWatch Logs API reference, `limit` of the Describe operations
ALL = 1_000_000  # more than AWS's quotas let anyone define


class Owner(Protocol):
    """Whose something is: an account in a region. A Call is one."""

    @property
    def account(self) -> str:
        """Its number, twelve digits."""

    @property
    def region(self) -> str:
        """Such as `eu-west-1`."""


class Versions:
    """Rising numbers: the newest version of a row wins."""

    def __init__(self) -> None:
        self._last = 0

    def take(self) -> int:
        """A number above every earlier one."""
        self._last = max(time.time_ns(), self._last + 1)
        return self._last


class Definitions:
    """Definitions in the store. `log_group` is empty for those that belong to no group."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions = Versions()

    async def put(
        self, owner: Owner, kind: str, name: str, document: Mapping[str, Any], log_group: str = ""
    ) -> None:
        """Make or replace a definition."""
        await self._write(owner, kind, log_group, name, json.dumps(document), is_deleted=0)

    async def delete(self, owner: Owner, kind: str, name: str, log_group: str = "") -> None:
        """Drop a definition, if it is there."""
        await self._write(owner, kind, log_group, name, "{}", is_deleted=1)

    async def get(
        self, owner: Owner, kind: str, name: str, log_group: str = ""
    ) -> dict[str, Any] | None:
        """The document of a definition; None when there is none."""
        rows = await self._store.query(
            "log_definition", **_owner(owner), kind=kind, log_group=log_group, definition=name
        )
        return json.loads(rows[0]["document"]) if rows else None

    async def page(
        self,
        owner: Owner,
        kind: str,
        *,
        log_group: str = "",
        prefix: str = "",
        after: tuple[str, str] = ("", ""),
        page_max: int = ALL,
    ) -> list[tuple[str, str, dict[str, Any]]]:
        """Group, name and document of at most `page_max` definitions after `after`, in order."""
        rows = await self._store.query(
            "log_definitions",
            **_owner(owner),
            kind=kind,
            log_group=log_group,
            prefix=prefix,
            after_group=after[0],
            after_name=after[1],
            page_max=page_max,
        )
        return [(row["log_group"], row["name"], json.loads(row["document"])) for row in rows]

    async def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Account, region, log_group, name and document of a kind's definitions, of everyone."""
        rows = await self._store.query("log_definitions_of_kind", kind=kind)
        return [{**row, "document": json.loads(row["document"])} for row in rows]

    async def counts(self, owner: Owner, kind: str, log_groups: list[str]) -> dict[str, int]:
        """How many definitions of a kind each group has."""
        rows = await self._store.query(
            "log_definition_counts", **_owner(owner), kind=kind, names=log_groups
        )
        return {row["log_group"]: row["definitions"] for row in rows}

    async def _write(
        self, owner: Owner, kind: str, log_group: str, name: str, document: str, *, is_deleted: int
    ) -> None:
        row = {
            **_owner(owner),
            "kind": kind,
            "log_group": log_group,
            "name": name,
            "document": document,
            "version": self._versions.take(),
            "is_deleted": is_deleted,
        }
        await self._store.insert("log_definitions", json.dumps(row).encode(), "JSONEachRow")


async def described(
    definitions: Definitions, call: Call, kind: str, *, log_group: str = "", prefix: str = ""
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the documents of a kind and the token of the next, by `nextToken` and `limit`.

    Raises AwsError InvalidParameterException for a token that is none.
    """
    token = call.parameters.get("nextToken")
    after = decode_token(token, str, str, invalid=invalid_token) if token else ("", "")
    limit = call.parameters.get("limit", PAGE_MAX)
    rows = await definitions.page(
        call,
        kind,
        log_group=log_group,
        prefix=prefix,
        after=(after[0], after[1]),
        page_max=limit + 1,
    )
    page = rows[:limit]
    following = encode_token(page[-1][0], page[-1][1]) if len(rows) > limit else None
    return [document for _, _, document in page], following


def invalid_token() -> AwsError:
    """AWS's error for a page token that is none."""
    return AwsError("InvalidParameterException", "The specified nextToken is invalid.")


def _owner(owner: Owner) -> dict[str, str]:
    return {"account": owner.account, "region": owner.region}

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.store.engine import Store

KNOWN_STREAMS_MAX = 100_000  # 20 MB; past it we forget all and ask the store again


class LogGroups:
    """Log groups and their streams: made here, known here.

    A stream that was seen once is remembered, since every PutLogEvents asks whether it exists.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._making = asyncio.Lock()  # two requests must not both find a name free
        self._known_streams: set[tuple[str, str, str, str]] = set()
        store.when_emptied(self._known_streams.clear)

    async def create_group(self, call: Call, name: str, log_group_class: str) -> None:
        """Make a group. Raises AwsError ResourceAlreadyExistsException."""
        async with self._making:
            if await self._group_exists(call, name):
                raise AwsError(
                    "ResourceAlreadyExistsException", "The specified log group already exists"
                )
            await self._insert(
                "log_groups",
                account=call.account,
                region=call.region,
                log_group=name,
                creation_ms=call.now_ms,
                log_group_class=log_group_class,
            )

    async def create_stream(self, call: Call, group: str, name: str) -> None:
        """Make a stream. Raises AwsError ResourceAlreadyExistsException or …NotFoundException."""
        async with self._making:
            if await self._stream_exists(call, group, name):
                raise AwsError(
                    "ResourceAlreadyExistsException", "The specified log stream already exists"
                )
            await self.require_group(call, group)
            await self._insert(
                "log_streams",
                account=call.account,
                region=call.region,
                log_group=group,
                log_stream=name,
                creation_ms=call.now_ms,
            )

    async def require_group(self, call: Call, name: str) -> None:
        """Raise AwsError ResourceNotFoundException unless the group exists."""
        if not await self._group_exists(call, name):
            raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")

    async def require_stream(self, call: Call, group: str, name: str) -> None:
        """Raise AwsError ResourceNotFoundException unless the group and its stream exist."""
        if not await self._stream_exists(call, group, name):
            await self.require_group(call, group)
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")

    async def _group_exists(self, call: Call, name: str) -> bool:
        rows = await self._store.query(
            "log_group_exists", account=call.account, region=call.region, log_group=name
        )
        return bool(rows)

    async def _stream_exists(self, call: Call, group: str, name: str) -> bool:
        key = (call.account, call.region, group, name)
        if key in self._known_streams:
            return True
        rows = await self._store.query(
            "log_stream_exists",
            account=call.account,
            region=call.region,
            log_group=group,
            log_stream=name,
        )
        if rows:
            if len(self._known_streams) >= KNOWN_STREAMS_MAX:
                self._known_streams.clear()
            self._known_streams.add(key)
        return bool(rows)

    async def _insert(self, table: str, **row: Any) -> None:
        await self._store.insert(table, json.dumps(row).encode(), "JSONEachRow")


def group_name(parameters: Mapping[str, Any]) -> str:
    """The group that `logGroupName` or `logGroupIdentifier` (a name or an ARN) names.

    Raises AwsError when both or neither is given.
    """
    name, identifier = parameters.get("logGroupName"), parameters.get("logGroupIdentifier")
    if name is not None and identifier is not None:
        raise AwsError(
            "ValidationException",
            "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
        )
    if name is None and identifier is None:
        raise AwsError(
            "InvalidParameterException", "Either logGroupName or logGroupIdentifier is required."
        )
    return str(name) if name is not None else name_of_identifier(str(identifier))


def name_of_identifier(identifier: str) -> str:
    """The name in an ARN `arn:aws:logs:REGION:ACCOUNT:log-group:NAME`, or the bare name."""
    return identifier.rpartition(":log-group:")[2]


def group_arn(call: Call, name: str) -> str:
    """The ARN of a log group, without the `:*` that stands for its streams."""
    return f"arn:aws:logs:{call.region}:{call.account}:log-group:{name}"

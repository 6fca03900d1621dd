from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.arrivals import GroupKey
from lambdatrace_collector.logs.definitions import Versions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.arrivals import Arrivals
    from lambdatrace_collector.logs.definitions import Owner
    from lambdatrace_collector.store.engine import Store

KNOWN_MAX = (
    100_000  # groups, and streams: 20 MB each; past it we forget all and ask the store again
)


@dataclass(frozen=True)
class LogGroup:
    """A log group and what is set on it. `retention_days` is 0 when events are kept for ever."""

    log_group: str
    creation_ms: int
    log_group_class: str = "STANDARD"
    retention_days: int = 0
    is_deletion_protected: bool = False
    kms_key_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class LogGroups:
    """Log groups and their streams: made, changed and deleted here, known here.

    What was seen once is remembered, since every PutLogEvents asks whether its stream exists: a
    change by another collector on the same server is not seen until this one forgets.
    """

    def __init__(
        self,
        store: Store,
        arrivals: Arrivals,
        on_delete: Sequence[Callable[[GroupKey], Awaitable[None]]] = (),
    ) -> None:
        """`on_delete` are called with a group that is deleted, before its data is."""
        self._store = store
        self._arrivals = arrivals
        self._on_delete = on_delete
        self._versions = Versions()
        self._changing = asyncio.Lock()  # two requests must not both find a name free
        self._known: dict[GroupKey, LogGroup] = {}
        self._known_streams: set[tuple[str, str, str, str]] = set()
        store.when_emptied(self._forget)

    async def create_group(self, call: Call, group: LogGroup) -> None:
        """Make a group. Raises AwsError ResourceAlreadyExistsException."""
        name = group.log_group
        async with self._changing:
            if await self._find(call, name) is not None:
                raise AwsError(
                    "ResourceAlreadyExistsException", "The specified log group already exists"
                )
            # A deletion that a crash cut short has left the old group's data.
            if await self._store.query("log_group_leftovers", **_key(call, name)):
                await self._delete_data(call, name)
            await self._write(call, group)

    async def update_group(self, call: Call, name: str, **changes: Any) -> None:
        """Change a group. Raises AwsError ResourceNotFoundException."""
        async with self._changing:
            group = await self.require_group(call, name)
            await self._write(call, replace(group, **changes))

    async def delete_group(self, call: Call, name: str) -> None:
        """Delete a group with its streams, events and definitions; all are gone on return.

        Raises AwsError ResourceNotFoundException, or InvalidOperationException when protected.
        """
        async with self._changing:
            group = await self.require_group(call, name)
            if group.is_deletion_protected:
                raise AwsError(
                    "InvalidOperationException",
                    "The specified log group has deletion protection enabled."
                    " Turn it off before deleting the log group.",
                )
            await self._write(call, group, is_deleted=1)
            key = GroupKey(call.account, call.region, name)
            self._known.pop(key, None)
            for stream in [each for each in self._known_streams if each[:3] == key]:
                self._known_streams.discard(stream)
            # What was admitted before must not arrive after: it would be in the next group.
            await self._arrivals.settled(key)
            for drop in self._on_delete:
                await drop(key)
            await self._delete_data(call, name)

    async def create_stream(self, call: Call, group: str, name: str) -> None:
        """Make a stream. Raises AwsError ResourceAlreadyExistsException or …NotFoundException."""
        async with self._changing:
            if await self._stream_exists(call, group, name):
                raise AwsError(
                    "ResourceAlreadyExistsException", "The specified log stream already exists"
                )
            await self.require_group(call, group)
            row = {**_key(call, group), "log_stream": name, "creation_ms": call.now_ms}
            await self._store.insert("log_streams", json.dumps(row).encode(), "JSONEachRow")

    async def delete_stream(self, call: Call, group: str, name: str) -> None:
        """Delete a stream with its events. Raises AwsError ResourceNotFoundException."""
        async with self._changing:
            await self._require_stream(call, group, name)
            self._known_streams.discard((call.account, call.region, group, name))
            await self._arrivals.settled(GroupKey(call.account, call.region, group))
            key = {**_key(call, group), "log_stream": name}
            await self._store.execute("delete_stream_events", **key)
            await self._store.execute("delete_streams", **key)

    async def require_group(self, owner: Owner, name: str) -> LogGroup:
        """The group. Raises AwsError ResourceNotFoundException unless it exists."""
        group = await self._find(owner, name)
        if group is None:
            raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
        return group

    async def require_stream(self, owner: Owner, group: str, name: str) -> None:
        """Raise AwsError ResourceNotFoundException unless the group and its stream exist."""
        if (owner.account, owner.region, group, name) in self._known_streams:
            return
        async with self._changing:  # what is being deleted must not be found
            await self._require_stream(owner, group, name)

    async def delete_expired(self, now_ms: int, log_group: str | None = None) -> None:
        """Delete the events that are older than their group keeps them, of one group or of all."""
        for row in await self._store.query("log_groups_with_retention"):
            if log_group in (None, row["log_group"]):
                key = {name: row[name] for name in ("account", "region", "log_group")}
                expired_ms = expiry_ms(row["retention_days"], now_ms)
                if await self._store.query("expired_events", **key, expired_ms=expired_ms):
                    await self._store.execute("delete_expired_events", **key, expired_ms=expired_ms)

    def _forget(self) -> None:
        self._known.clear()
        self._known_streams.clear()

    async def _require_stream(self, owner: Owner, group: str, name: str) -> None:
        if not await self._stream_exists(owner, group, name):
            await self.require_group(owner, group)
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")

    async def _find(self, owner: Owner, name: str) -> LogGroup | None:
        known = GroupKey(owner.account, owner.region, name)
        if known not in self._known:
            rows = await self._store.query("log_group", **_key(owner, name))
            if not rows:
                return None
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[known] = LogGroup(**rows[0])
        return self._known[known]

    async def _stream_exists(self, owner: Owner, group: str, name: str) -> bool:
        key = (owner.account, owner.region, group, name)
        if key in self._known_streams:
            return True
        rows = await self._store.query("log_stream_exists", **_key(owner, group), log_stream=name)
        if rows:
            if len(self._known_streams) >= KNOWN_MAX:
                self._known_streams.clear()
            self._known_streams.add(key)
        return bool(rows)

    async def _write(self, call: Call, group: LogGroup, is_deleted: int = 0) -> None:
        row = {
            "account": call.account,
            "region": call.region,
            **group.__dict__,
            "version": self._versions.take(),
            "is_deleted": is_deleted,
        }
        await self._store.insert("log_groups", json.dumps(row).encode(), "JSONEachRow")
        if not is_deleted:
            self._known[GroupKey(call.account, call.region, group.log_group)] = group

    async def _delete_data(self, owner: Owner, name: str) -> None:
        key = _key(owner, name)
        await self._store.execute("delete_group_definitions", **key)
        await self._store.execute("delete_streams", **key, log_stream="")
        await self._store.execute("delete_group_events", **key)


def expiry_ms(retention_days: int, now_ms: int) -> int:
    """Events before this moment are kept no more."""
    return now_ms - retention_days * 24 * 3600 * 1000 if retention_days else 0


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
    """The name in an ARN `arn:aws:logs:REGION:ACCOUNT:log-group:NAME[:*]`, or the bare name."""
    return identifier.rpartition(":log-group:")[2].removesuffix(":*")


def group_arn(owner: Owner, name: str) -> str:
    """The ARN of a log group, without the `:*` that stands for its streams."""
    return f"arn:aws:logs:{owner.region}:{owner.account}:log-group:{name}"


def _key(owner: Owner, name: str) -> dict[str, str]:
    return {"account": owner.account, "region": owner.region, "log_group": name}

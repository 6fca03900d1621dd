"""What the collector finds when it opens a store, and what it did about it: a line for each."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError

from lambdatrace_collector.store import sql_files
from lambdatrace_collector.store.failures import short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lambdatrace_collector.store.folder import TakenFolder
    from lambdatrace_collector.store.migration import Migration

MB = 1_000_000
# Below this, merges of large parts are put off and a busy day fills the rest.
FREE_BYTES_WARNED = 1000 * MB
NAMES_SHOWN = 5


class Finding(NamedTuple):
    """One line for the log; `is_warning` when someone should look at it."""

    is_warning: bool
    text: str


def findings(
    client: Any, folder: Path | None, taken: TakenFolder | None, migration: Migration
) -> Iterator[Finding]:
    """The findings of an opened store, in order. `folder` and `taken` are an embedded engine's."""
    if folder is not None:
        yield _free_disk(folder)
    if taken is not None:
        yield _incoming(taken)
    yield _schema(migration)
    try:
        yield _parts(client)
        yield from _detached(client)
    except ClickHouseError as error:
        # A server's administrator need not let us read system tables.
        yield Finding(is_warning=False, text=f"parts: not checked ({short(error)})")


def _free_disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    text = f"disk: {usage.free // MB} of {usage.total // MB} MB are free"
    if usage.free < FREE_BYTES_WARNED:
        return Finding(is_warning=True, text=f"{text}: writes are refused once it is full")
    return Finding(is_warning=False, text=text)


def _incoming(taken: TakenFolder) -> Finding:
    if not taken.leftover_files:
        return Finding(is_warning=False, text="incoming: nothing was left")
    return Finding(
        is_warning=False,
        text=f"incoming: removed {taken.leftover_files} unfinished bodies of"
        f" {taken.leftover_bytes} bytes, none of which was acknowledged",
    )


def _schema(migration: Migration) -> Finding:
    before, after = migration
    if before == after:
        return Finding(is_warning=False, text=f"schema: version {after}")
    was = f"was version {before}" if before else "was new"
    return Finding(is_warning=False, text=f"schema: {was}, is version {after} now")


def _parts(client: Any) -> Finding:
    ((tables, parts, rows, disk_bytes),) = _rows(client, "active_parts")
    return Finding(
        is_warning=False,
        text=f"parts: {parts} in {tables} tables, {rows} rows, {disk_bytes // MB} MB",
    )


def _detached(client: Any) -> Iterator[Finding]:
    found = _rows(client, "detached_parts")
    if not found:
        yield Finding(is_warning=False, text="broken parts: none")
    for table, names, disk_bytes in found:
        shown = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
        yield Finding(
            is_warning=True,
            text=f"broken parts: {len(names)} of {table} ({disk_bytes} bytes) are set aside and not"
            f" read: {shown}",
        )


def _rows(client: Any, name: str) -> list[tuple[Any, ...]]:
    return list(client.query(sql_files.query_text(name)).result_rows)

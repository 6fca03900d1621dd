"""A part that turns out to be broken is set aside, so that the rest of its table can be read.

The engine looks at a part's files when it starts and detaches what is incomplete. Damage within a
file shows only when it is read: from then on each query that needs the part fails, and each merge
of it. The engine says which part it was reading: it is detached, its files stay below `detached/`
of the table, its rows are no longer read. Source: ClickHouse, "ALTER TABLE … DETACH PART".
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from lambdatrace_collector.store import sql_files
from lambdatrace_collector.store.failures import short

if TYPE_CHECKING:
    from lambdatrace_collector.store.url import StoreUrl

logger = logging.getLogger(__name__)

# What is wrong with the bytes, whatever else the machine is doing.
_BROKEN_ERRORS = frozenset(
    {
        12,  # TOO_LARGE_SIZE_COMPRESSED
        33,  # CANNOT_READ_ALL_DATA
        40,  # CHECKSUM_DOESNT_MATCH
        107,  # FILE_DOESNT_EXIST
        226,  # NO_FILE_IN_DATA_PART
        246,  # CORRUPTED_DATA
        271,  # CANNOT_DECOMPRESS
        432,  # UNKNOWN_CODEC
    }
)
_NO_SUCH_PART = 232
# Of a column's bytes: what an expression meets in the values must not cost the part.
_PART_READ = re.compile(
    r"while reading column .*?"
    r"while reading from part \S*/(?P<part>[^/\s]+)/ in table (?P<table>\S+)"
)


class BrokenPart(NamedTuple):
    """A part of a table of ours, by the names that the engine gives."""

    table: str
    part: str


def part_read(error: ClickHouseError, url: StoreUrl) -> BrokenPart | None:
    """The part whose reading failed with `error`; None when it was something else."""
    if not isinstance(error, DatabaseError) or error.code not in _BROKEN_ERRORS:
        return None
    found = _PART_READ.search(str(error))
    if found is None:
        return None
    database, _, table = found["table"].replace("`", "").partition(".")
    return BrokenPart(table, found["part"]) if database == url.database else None


def set_aside(client: Any, broken: BrokenPart) -> bool:
    """Detach the part; True when a query may be tried again without it."""
    try:
        client.command(
            sql_files.command_text("detach_part"),
            parameters={"table": broken.table, "part": broken.part},
        )
    except ClickHouseError as error:
        if getattr(error, "code", None) == _NO_SUCH_PART:
            return True  # another query was faster, or a merge
        logger.warning(
            "part %s of %s is broken and cannot be set aside: %s",
            broken.part,
            broken.table,
            short(error),
        )
        return False
    logger.warning(
        "part %s of %s is broken: it is set aside below detached/ and no longer read",
        broken.part,
        broken.table,
    )
    return True

"""What the signals' ways into the store have in common.

A body is checked here and decoded by the engine: protobuf's C parser walks over the whole message
(0.7 to 1 million spans/s, measured), and nothing is done per record in Python unless the engine
refuses one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import BadRequestError, StoreRejectedError
from lambdatrace_collector.otlp.signals import NONE_REJECTED, Rejected, parse_request
from lambdatrace_collector.store import sql_files
from lambdatrace_collector.store.failures import PROTOBUF_BAD_CAST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lambdatrace_collector.otlp.signals import Origin, Signal
    from lambdatrace_collector.store.engine import Store

    Commit = Callable[..., Awaitable[None]]
    Ingest = Callable[[bytes, Origin], Awaitable[Rejected]]


def protobuf_insert(store: Store, table: str, message: str) -> Commit:
    """How a group of bodies, concatenated, is written into `table` as its `message`.

    The engine's description of the messages has the table's name.
    """
    settings = {
        "format_schema_source": "string",
        "format_schema": sql_files.format_schema(table),
        "format_schema_message_name": message,
        "output_format_json_escape_forward_slashes": 0,  # in the messages of log events
    }

    async def insert(body: bytes) -> None:
        await store.insert(table, body, "ProtobufSingle", settings)

    return insert


async def commit_valid(
    signal: Signal, body: bytes, commit: Commit, remove_invalid: Callable[[Any], Rejected]
) -> Rejected:
    """Commit the request; when the engine refuses it, without the records that are not valid.

    `remove_invalid` takes those out of the message. Raises BadRequestError when the engine refuses
    the rest too, and what `commit` raises.
    """
    try:
        await commit(body)
    except StoreRejectedError as refusal:
        if refusal.code == PROTOBUF_BAD_CAST:
            # protobuf's own parser keeps the low bits of such a number, which nobody has sent.
            raise _not_otlp(refusal) from refusal
    else:
        return NONE_REJECTED
    message = parse_request(signal, body)
    rejected = remove_invalid(message)
    # Written anew by protobuf: the engine then reads one plain encoding, whatever the sender's was.
    try:
        await commit(message.SerializeToString())
    except StoreRejectedError as error:
        raise _not_otlp(error) from error
    return rejected


def keep_only(records: Any, is_valid: Callable[[Any], bool]) -> int:
    """Take the records that are not valid out of a repeated field; gives their number."""
    valid = [record for record in records if is_valid(record)]
    removed = len(records) - len(valid)
    if removed:
        kept = [type(record).FromString(record.SerializeToString()) for record in valid]
        del records[:]
        records.extend(kept)
    return removed


def _not_otlp(error: StoreRejectedError) -> BadRequestError:
    return BadRequestError(
        f"the body is protobuf, but a field of it is not what OTLP says it is: {error}"
    )

"""PutMetricData: a request's body, whatever protocol it came in, on its way to the engine.

The engine decodes and judges the body: `put_metric_data` of `0002_metrics.sql`. JSON goes as it
came; CBOR and forms become JSON first, without a look at their members.
"""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import cbor2

from lambdatrace_collector.errors import BodyTooLargeError, StoreRejectedError
from lambdatrace_collector.metrics.datums import checked_datums

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.ingest.record_ids import RecordIds
    from lambdatrace_collector.store.engine import Store

    Commit = Callable[[bytes, int], Awaitable[None]]

BODY_BYTES_MAX = 1024 * 1024  # uncompressed; source: API reference, PutMetricData
DEPTH_MAX = 16  # the deepest of its values has seven levels
ARRIVALS_MAX = 10_000  # SDKs give up after some seconds: these are the requests of as many

_ENTITIES = b"EntityMetricData"
_DATUM = b"MetricName"  # once in each datum, in every protocol; for the collector's own count

# The engine is to take what AWS takes: no number where a string belongs, nothing beside the body.
_STRICT = {
    "input_format_skip_unknown_fields": 0,
    "input_format_json_read_numbers_as_strings": 0,
    "input_format_json_read_bools_as_strings": 0,
    "input_format_json_read_bools_as_numbers": 0,
    "input_format_json_read_arrays_as_strings": 0,
    "input_format_json_ignore_unknown_keys_in_named_tuple": 1,  # clients may be newer than we are
    "input_format_json_max_depth": 64,
}


class MetricIngestion:
    """The operation PutMetricData. `commit` returns once its row of `put_metric_data` is stored."""

    def __init__(self, record_ids: RecordIds, commit: Commit) -> None:
        self._record_ids = record_ids
        self._commit = commit
        self._arrivals: OrderedDict[int, int] = OrderedDict()

    async def put_metric_data(self, call: Call) -> Mapping[str, Any]:
        """PutMetricData. Answers when the datums are stored."""
        if len(call.body) > BODY_BYTES_MAX:
            raise BodyTooLargeError(
                f"The request has {len(call.body)} bytes: PutMetricData takes {BODY_BYTES_MAX}"
            )
        sample_id = self._record_ids.take_for(call)
        now_ms = self._first_arrival_ms(call, sample_id)
        body = _engine_body(call)
        if body is None:
            await self._commit_checked(call, sample_id, now_ms)
            return {}
        try:
            await self._commit(_row(call, sample_id, now_ms, body), call.body.count(_DATUM))
        except StoreRejectedError:
            # Either it is found what is wrong, or the body was only written in an unusual way.
            await self._commit_checked(call, sample_id, now_ms)
        return {}

    async def _commit_checked(self, call: Call, sample_id: int, now_ms: int) -> None:
        datums = checked_datums(call)
        if datums:
            plain = {"Namespace": call.parameters["Namespace"], "MetricData": datums}
            await self._commit(_row(call, sample_id, now_ms, _dumped(plain)), len(datums))

    def _first_arrival_ms(self, call: Call, sample_id: int) -> int:
        """When a call came first: a datum without a time keeps it when it is sent again."""
        if not call.invocation_id:
            return call.now_ms
        first_ms = self._arrivals.setdefault(sample_id, call.now_ms)
        if len(self._arrivals) > ARRIVALS_MAX:
            self._arrivals.popitem(last=False)
        return first_ms


def metrics_insert(store: Store) -> Callable[[bytes], Awaitable[None]]:
    """How a group of PutMetricData requests is written."""

    async def insert(body: bytes) -> None:
        await store.insert("put_metric_data", body, "JSONEachRow", _STRICT)

    return insert


def _row(call: Call, sample_id: int, now_ms: int, body: bytes) -> bytes:
    """A row of `put_metric_data`, as a line of JSON around a body that nobody has looked at.

    Only the last field says that the body ended where it should, with a word it cannot know.
    """
    word = secrets.token_hex(8)
    head = (
        f'{{"opening":"{word}","account":{json.dumps(call.account)}'
        f',"region":{json.dumps(call.region)},"now_ms":{now_ms},"sample_id":"{sample_id}","body":'
    )
    return b"".join((head.encode(), body or b"null", f',"closing":"{word}"}}\n'.encode()))


def _engine_body(call: Call) -> bytes | None:
    """The body as JSON; None when its members must be looked at first.

    Those are the datums of entities, which the engine reads where the others are, and what is not
    text: the embedded engine's errors quote it, and are then unreadable themselves.
    """
    if _ENTITIES in call.body:
        return None
    if call.body_type == "application/json":
        try:
            call.body.decode()
        except UnicodeDecodeError:
            return None
        return call.body
    if call.body_type == "application/cbor":
        try:
            value = cbor2.loads(call.body, semantic_decoders=_SECONDS, max_depth=DEPTH_MAX)
            return _dumped(value)
        except (cbor2.CBORError, ValueError, TypeError, RecursionError):
            return None  # the protocol's own decoder says what is wrong with it
    return _dumped(dict(call.parameters))


def _dumped(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_SECONDS = {1: lambda value, _immutable: value}  # a time is its seconds since 1970

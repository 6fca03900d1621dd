"""All fields of one log event, as GetLogRecord shows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.logs.insights.fields import LAMBDA_GROUPS, LEVELS_MAX
from lambdatrace_collector.logs.insights.links import REQUEST_ID, TRACE_ID, xray_trace_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FIELDS_MAX = 200  # of one event; source: the user guide, "Supported logs and discovered fields"


def record_fields(account: str, group: str, row: Mapping[str, Any]) -> dict[str, str]:
    """The fields of an event of `log_record.sql`: the system's, Lambda's ids, those of its JSON."""
    fields = {
        "@message": row["message"],
        "@timestamp": str(row["timestamp_ms"]),
        "@ingestionTime": str(row["ingestion_ms"]),
        "@logStream": row["log_stream"],
        "@log": f"{account}:{group}",
    }
    if row["request_id"]:
        fields[REQUEST_ID] = row["request_id"]
    if row["trace_id"]:
        fields[TRACE_ID] = xray_trace_id(row["trace_id"])
    found = _json_of(row["message"], is_lambda=group.startswith(LAMBDA_GROUPS))
    for name, value in _flattened(found, (), 0):
        if len(fields) >= FIELDS_MAX:
            break
        fields.setdefault(name, value)
    return fields


def _json_of(message: str, *, is_lambda: bool) -> Any:
    start = message.find("{") if is_lambda else len(message) - len(message.lstrip())
    if start < 0 or not message.startswith("{", start):
        return {}
    try:
        value, _ = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode(message, start)
    except (ValueError, RecursionError):
        return {}
    return value


def _flattened(value: Any, path: tuple[str, ...], level: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        if level < LEVELS_MAX:
            for key, item in items:
                name = f"@{key}" if not path and str(key).startswith("@") else str(key)
                yield from _flattened(item, (*path, name), level + 1)
    elif value is not None and path:
        yield ".".join(path), _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)

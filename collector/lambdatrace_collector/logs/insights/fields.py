"""Fields that are discovered in log events: the system's, Lambda's, and those of JSON.

Source: CloudWatch Logs user guide, "Supported logs and discovered fields". JSON fields are named
`a.b` and `a.0`, to five levels; a key that begins with @ is shown as @@. Of a Lambda log line that
is not JSON, the first JSON object in it is read.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.links import link_fields
from lambdatrace_collector.logs.insights.values import Kind, Value, call, integer, number, string
from lambdatrace_collector.store.compiled_query import Column, Null

if TYPE_CHECKING:
    from lambdatrace_collector.store.compiled_query import Expression

LEVELS_MAX = 5
DOTS_MAX = 7  # in the name of a JSON field: 99 ways to read them; two keys with dots at five levels
LAMBDA_GROUPS = "/aws/lambda/"

_MESSAGE, _JSON = Column("message"), Column("json")

# Name: what follows in a REPORT line, where it is in a platform.report record, times this.
_MEGABYTE = 1e6  # CloudWatch shows a megabyte as 1.0E6
_REPORT_NUMBERS = {
    "@duration": (r"RequestId: \S+\s+Duration: ([0-9.]+) ms", "durationMs", 1.0),
    "@billedDuration": (r"\sBilled Duration: ([0-9.]+) ms", "billedDurationMs", 1.0),
    "@initDuration": (r"\sInit Duration: ([0-9.]+) ms", "initDurationMs", 1.0),
    "@memorySize": (r"\sMemory Size: ([0-9]+) MB", "memorySizeMB", _MEGABYTE),
    "@maxMemoryUsed": (r"\sMax Memory Used: ([0-9]+) MB", "maxMemoryUsedMB", _MEGABYTE),
}


def json_of_event() -> Expression:
    """The event's JSON object as text, empty when it has none."""
    is_lambda = call("startsWith", Column("log_group"), string(LAMBDA_GROUPS))
    return call(
        "multiIf",
        call("startsWith", call("trimLeft", _MESSAGE), string("{")),
        _MESSAGE,
        call(
            "and", is_lambda, call("greater", call("position", _MESSAGE, string("{")), integer(0))
        ),
        call("extract", _MESSAGE, string(r"(?s)\{.*\}")),
        string(""),
    )


def own_field(name: str, account: str) -> Value | None:
    """The system's or Lambda's field `name`, of columns of `log_events` and `json`; else None."""
    if name in _REPORT_NUMBERS:
        return Value(_report_number(*_REPORT_NUMBERS[name]), Kind.DOUBLE)
    if name == "@log":
        return Value(call("concat", string(f"{account}:"), Column("log_group")), Kind.TEXT)
    known = {
        "@message": (_MESSAGE, Kind.TEXT),
        "@timestamp": (Column("timestamp_ms"), Kind.TIME),
        "@ingestionTime": (Column("ingestion_ms"), Kind.TIME),
        "@logStream": (Column("log_stream"), Kind.TEXT),
        "@ptr": (pointer(), Kind.TEXT),
    }
    if name in known:
        return Value(*known[name])
    links = link_fields()
    if name in links:
        return links[name]
    lambda_fields = {"@type": _type, "@xraySegmentId": _segment_id}
    return Value(lambda_fields[name](), Kind.TEXT) if name in lambda_fields else None


def pointer() -> Expression:
    """The text that names an event for GetLogRecord: its time, id and group, in Base64."""
    parts = (
        *(call("toString", Column("timestamp_ms")), string("/")),
        *(call("toString", Column("event_id")), string("/"), Column("log_group")),
    )
    return call("base64Encode", call("concat", *parts))


def json_field(path: tuple[str, ...]) -> Expression:
    """The JSON value at `path` of the column `json` as it is written there; empty without one.

    A key may itself have dots, so that `a.b` is b in a, or the key `a.b`; more levels go first.
    """
    first = path[0].removeprefix("@") if path[0].startswith("@@") else path[0]
    is_own = first.startswith("@") and not path[0].startswith("@@")
    if is_own or len(path) > DOTS_MAX + 1:
        return string("")
    parts = (first, *path[1:])
    places = range(1, len(parts))
    found: list[Expression] = []
    for levels in range(min(len(parts), LEVELS_MAX), 0, -1):
        for cuts in combinations(places, levels - 1):
            edges = (0, *cuts, len(parts))
            keys = tuple(".".join(parts[a:b]) for a, b in pairwise(edges))
            found.extend(_raw_values(keys))
    value = found[-1]
    for one in reversed(found[:-1]):
        value = call("if", call("notEmpty", one), one, value)
    return value


def json_field_text(raw: Expression) -> Expression:
    """The field's text: true is 1 and false 0, as CloudWatch has it; lists and objects are none."""
    return call(
        "multiIf",
        call("startsWith", raw, string('"')),
        call("JSONExtractString", raw),
        call("in", raw, call("tuple", string(""), string("null"))),
        Null(),
        call("or", call("startsWith", raw, string("{")), call("startsWith", raw, string("["))),
        Null(),
        call("equals", raw, string("true")),
        string("1"),
        call("equals", raw, string("false")),
        string("0"),
        raw,
    )


def _raw_values(keys: tuple[str, ...]) -> list[Expression]:
    """The value at the keys; where a key is a number, first as a list's item."""
    by_name = call("JSONExtractRaw", _JSON, *map(string, keys))
    if not any(key.isdecimal() and key.isascii() and len(key) <= 9 for key in keys[1:]):  # noqa: PLR2004 -- fits Int64
        return [by_name]
    place: list[Expression] = []
    conditions: list[Expression] = []
    for position, key in enumerate(keys):
        if position and key.isdecimal() and key.isascii() and len(key) <= 9:  # noqa: PLR2004 -- as above
            conditions.append(call("equals", call("JSONType", _JSON, *place), string("Array")))
            place.append(integer(int(key) + 1))
        else:
            place.append(string(key))
    are_lists = conditions[0] if len(conditions) == 1 else call("and", *conditions)
    item = call("if", are_lists, call("JSONExtractRaw", _JSON, *place), string(""))
    return [item, by_name]


def _starts(text: str) -> Expression:
    return call("startsWith", _MESSAGE, string(text))


def _found(pattern: str) -> Expression:
    """The first group of `pattern` in the message; NULL when it is not there."""
    found = call("extract", _MESSAGE, string(pattern))
    return call("nullIf", found, string(""))


def _platform(kind: str) -> Expression:
    """Whether the event is a platform record of Lambda's JSON log format."""
    is_candidate = call("greater", call("position", _MESSAGE, string(kind)), integer(0))
    is_kind = call("equals", call("JSONExtractString", _JSON, string("type")), string(kind))
    return call("and", is_candidate, is_kind)


def _json_string(*path: str) -> Expression:
    found = call("JSONExtractString", _JSON, *map(string, path))
    return call("nullIf", found, string(""))


def _report_number(pattern: str, member: str, factor: float) -> Expression:
    text = call("toFloat64OrNull", call("extract", _MESSAGE, string(pattern)))
    path = (string("record"), string("metrics"), string(member), string("Nullable(Float64)"))
    value = call(
        "multiIf",
        _starts("REPORT RequestId: "),
        text,
        _platform("platform.report"),
        call("JSONExtract", _JSON, *path),
        Null(),
    )
    return value if factor == 1.0 else call("multiply", value, number(factor))


def _type() -> Expression:
    branches: list[Expression] = []
    for name in ("START", "END", "REPORT"):
        is_line = _starts(f"{name} RequestId: ")
        branches += [call("or", is_line, _platform(f"platform.{name.lower()}")), string(name)]
    return call("multiIf", *branches, Null())


def _segment_id() -> Expression:
    span = _json_string("record", "tracing", "spanId")
    return call("if", _starts("{"), span, _found(r"XRAY TraceId: \S+\s+SegmentId: (\S+)"))

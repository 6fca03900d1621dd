"""The trace context inside what an AWS call carries: parameters → parameters, never in place.

| call | where |
|---|---|
| SQS SendMessage, SNS Publish, and their batches | message attributes; at most ten on a message |
| EventBridge PutEvents | `TraceHeader`; the first keys of `Detail`, which is a JSON object |
| Lambda Invoke | `ClientContext`: `w3c`, read by the runtime's `context.w3c()`, and `custom` |
| Step Functions StartExecution, StartSyncExecution | `traceHeader` |
| Kinesis PutRecord, PutRecords | nothing, unless set: the first keys of a JSON object |

What the caller has put there stays, and then nothing is added. A request that fits a limit of its
service still does: the context is left out where it would not. Payloads are changed as text, by
W3C's keys alone, before the others, so that not a byte of the user's is written anew.
Sources: SQS, SNS, EventBridge, Lambda, Kinesis and Step Functions API references and quotas.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii

from lambdatrace.guard import let_through
from lambdatrace.propagation import TRACEPARENT, TRACESTATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

    Parameters = dict[str, Any]

MESSAGE_ATTRIBUTES_MAX = 10  # of SQS, and of SNS for a queue with raw delivery behind it
CLIENT_CONTEXT_LENGTH_MAX = 3583  # of the base64 text
# A service takes one or the other, by service, region and the queue's own setting.
SIZE_LIMITS = (256 * 1024, 1024 * 1024)
EVENT_TIME_SIZE = 14  # whatever the time
# Likewise by the stream's setting, each of data and partition keys.
RECORD_SIZE_LIMITS = (1024 * 1024, 10 * 1024 * 1024)
RECORDS_SIZE_LIMITS = (5 * 1024 * 1024, 10 * 1024 * 1024)
PAYLOADS = ("eventbridge", "kinesis")
_LISTS = (list, tuple)  # what botocore takes as a list
_PAYLOAD_KEYS = (TRACEPARENT, TRACESTATE)


class TraceFields:
    """What may be written: `fields` for propagators' carriers, `x_ray_header`, both as text."""

    __slots__ = ("fields", "payloads", "x_ray_header")

    def __init__(
        self, fields: Mapping[str, str], x_ray_header: str, payloads: Collection[str]
    ) -> None:
        self.fields = fields
        self.x_ray_header = x_ray_header
        self.payloads = payloads


def has_place(service: str, operation: str) -> bool:
    """Whether a call has a place for the trace context, beside its request's header."""
    return (service, operation) in _WRITERS


def add_context(
    service: str,
    operation: str,
    parameters: Parameters,
    fields: Mapping[str, str],
    x_ray_header: str,
    payloads: Collection[str] | None = (),
) -> Parameters:
    """`parameters` with the trace context where this call has a place for it.

    `payloads` names the services whose JSON payloads may get a key, eventbridge and kinesis; None
    means all.
    """
    write = _WRITERS.get((service, operation))
    if write is None or not isinstance(parameters, dict):
        return parameters
    return write(
        parameters, TraceFields(fields, x_ray_header, PAYLOADS if payloads is None else payloads)
    )


def has_place_in_body(service: str, operation: str, parameters: Any) -> bool:
    """Whether the body may get the context once it is written, with `add_to_body`.

    botocore takes 12 µs to check and write a message's attributes. It does so for those that the
    caller has given; in a batch, for all.
    """
    return (
        operation == "SendMessage"
        and service == "SQS"
        and isinstance(parameters, dict)
        and "MessageAttributes" not in parameters
    )


def add_to_body(body: Any, parameters: Parameters, fields: Mapping[str, str]) -> bytes | None:
    """The JSON `body` of a message's `parameters` with the fields; None if it is no JSON object."""
    if not isinstance(body, bytes) or body[:2] != b'{"' or body[-1:] != b"}":
        return None
    size = _bytes(parameters.get("MessageBody"))
    added = []
    for name, value in fields.items():
        more = len(name) + len("String") + len(value)
        if _fits(size, more):
            quoted = encode_basestring_ascii(value)
            added.append(f'"{name}": {{"DataType": "String", "StringValue": {quoted}}}')
            size += more
    if not added:
        return body
    return body[:-1] + f', "MessageAttributes": {{{", ".join(added)}}}}}'.encode("ascii")


# -- message attributes -------------------------------------------------------------------------


def _write_message(body: str) -> Callable[[Parameters, TraceFields], Parameters]:
    def write(parameters: Parameters, trace: TraceFields) -> Parameters:
        if "PhoneNumber" in parameters:
            return parameters
        written: Parameters
        written, _ = _with_attributes(parameters, trace, _message_size(parameters, body))
        return written

    return write


def _write_messages(entries: str, body: str) -> Callable[[Parameters, TraceFields], Parameters]:
    def write(parameters: Parameters, trace: TraceFields) -> Parameters:
        messages = parameters.get(entries)
        if not isinstance(messages, _LISTS):
            return parameters
        size = sum(_message_size(message, body) for message in messages)
        written = []
        for message in messages:
            changed, size = _with_attributes(message, trace, size)
            written.append(changed)
        return {**parameters, entries: written}

    return write


def _with_attributes(message: Any, trace: TraceFields, size: int) -> tuple[Any, int]:
    """The message with the fields that have room on it, and the request's size after that."""
    attributes = message.get("MessageAttributes") or {} if isinstance(message, dict) else None
    if not isinstance(attributes, dict) or _has_context(attributes, trace.fields):
        return message, size
    added: dict[str, Any] = {}
    for name, value in trace.fields.items():
        more = len(name) + len("String") + len(value)
        if len(attributes) + len(added) < MESSAGE_ATTRIBUTES_MAX and _fits(size, more):
            added[name] = {"DataType": "String", "StringValue": value}
            size += more
    if not added:
        return message, size
    return {**message, "MessageAttributes": {**attributes, **added}}, size


def _has_context(carrier: Mapping[Any, Any], fields: Mapping[str, str]) -> bool:
    names = {name.lower() for name in fields}
    return any(isinstance(key, str) and key.lower() in names for key in carrier)


def _message_size(message: Any, body: str) -> int:
    """Bytes of body and attributes, as SQS and SNS count them."""
    if not isinstance(message, dict):
        return 0
    size = _bytes(message.get(body)) + _bytes(message.get("Subject"))
    attributes = message.get("MessageAttributes")
    if isinstance(attributes, dict):
        for name, attribute in attributes.items():
            size += _bytes(name)
            if isinstance(attribute, dict):
                size += sum(_bytes(value) for value in attribute.values())
    return size


def _bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    return len(value) if isinstance(value, (bytes, bytearray)) else 0


def _fits(size: int, more: int, limits: tuple[int, ...] = SIZE_LIMITS) -> bool:
    """Whether `more` bytes leave a request below those of `limits` that it is below now."""
    if size + more <= limits[0]:
        return True
    return not any(size <= limit < size + more for limit in limits)


# -- payloads -----------------------------------------------------------------------------------


def _write_events(parameters: Parameters, trace: TraceFields) -> Parameters:
    entries = parameters.get("Entries")
    if not isinstance(entries, _LISTS):
        return parameters
    size = sum(_event_size(entry) for entry in entries)
    written = []
    for entry in entries:
        changed = entry
        if isinstance(entry, dict):
            changed = dict(entry)
            changed.setdefault("TraceHeader", trace.x_ray_header)
            if "eventbridge" in trace.payloads:
                detail, more = _with_keys(entry.get("Detail"), trace)
                if more and _fits(size, more):
                    changed["Detail"] = detail
                    size += more
        written.append(changed)
    return {**parameters, "Entries": written}


def _event_size(entry: Any) -> int:
    """Bytes of an entry, as EventBridge counts them: without the bus's name and TraceHeader."""
    if not isinstance(entry, dict):
        return 0
    size = sum(_bytes(entry.get(name)) for name in ("Source", "DetailType", "Detail"))
    resources = entry.get("Resources")
    if isinstance(resources, _LISTS):
        size += sum(_bytes(resource) for resource in resources)
    return size + (EVENT_TIME_SIZE if entry.get("Time") is not None else 0)


def _write_record(parameters: Parameters, trace: TraceFields) -> Parameters:
    if "kinesis" not in trace.payloads:
        return parameters
    written: Parameters
    written, _ = _with_record(parameters, trace, 0)
    return written


def _with_record(record: Any, trace: TraceFields, size: int) -> tuple[Any, int]:
    """The record with the fields if they have room, and the request's `size` after that."""
    if not isinstance(record, dict):
        return record, size
    data, more = _with_keys(record.get("Data"), trace)
    if (
        not more
        or not _fits(_record_size(record), more, RECORD_SIZE_LIMITS)
        or not _fits(size, more, RECORDS_SIZE_LIMITS)
    ):
        return record, size
    return {**record, "Data": data}, size + more


def _record_size(record: Any) -> int:
    """Bytes of a record, as Kinesis counts them: before base64."""
    names = ("Data", "PartitionKey")
    return sum(_bytes(record.get(name)) for name in names) if isinstance(record, dict) else 0


def _write_records(parameters: Parameters, trace: TraceFields) -> Parameters:
    records = parameters.get("Records")
    if "kinesis" not in trace.payloads or not isinstance(records, _LISTS):
        return parameters
    size = sum(_record_size(record) for record in records)
    written = []
    for record in records:
        changed, size = _with_record(record, trace, size)
        written.append(changed)
    return {**parameters, "Records": written}


def _with_keys(payload: Any, trace: TraceFields) -> tuple[Any, int]:
    """`payload`, the text or bytes of a JSON object, with W3C's trace context as its first keys.

    And how many bytes more it has: 0 where it stays as it is. Baggage stays out: the payload is the
    user's business, and others read it.
    """
    fields = {name: trace.fields[name] for name in _PAYLOAD_KEYS if name in trace.fields}
    if not fields or not isinstance(payload, (str, bytes)):
        return payload, 0
    try:
        # As UTF-8: json would take UTF-16 too, in which a key cannot be put as bytes.
        value = json.loads(payload.decode() if isinstance(payload, bytes) else payload)
    except ValueError as error:
        let_through(error)
        return payload, 0
    if not isinstance(value, dict) or _has_context(value, fields):
        return payload, 0
    keys = json.dumps(fields, separators=(",", ":"))[1:-1] + ("," if value else "")
    if isinstance(payload, bytes):
        head, brace, rest = payload.partition(b"{")
        return head + brace + keys.encode("ascii") + rest, len(keys)
    before, opening, after = payload.partition("{")
    return before + opening + keys + after, len(keys)


# -- parameters of their own --------------------------------------------------------------------


def _write_client_context(parameters: Parameters, trace: TraceFields) -> Parameters:
    from base64 import b64decode, b64encode

    given = parameters.get("ClientContext")
    try:
        context = json.loads(b64decode(given)) if given else {}
    except (ValueError, TypeError):
        return parameters
    if not isinstance(context, dict) or "w3c" in context:
        return parameters
    context["w3c"] = dict(trace.fields)
    custom = context.get("custom", {})
    with_custom = context
    if isinstance(custom, dict) and not _has_context(custom, trace.fields):
        with_custom = {**context, "custom": {**custom, **trace.fields}}
    for candidate in (with_custom, context):
        text = b64encode(json.dumps(candidate, separators=(",", ":")).encode()).decode()
        if len(text) <= CLIENT_CONTEXT_LENGTH_MAX:
            return {**parameters, "ClientContext": text}
    return parameters


def _write_trace_header(parameters: Parameters, trace: TraceFields) -> Parameters:
    return {"traceHeader": trace.x_ray_header, **parameters}


_WRITERS: dict[tuple[str, str], Callable[[Parameters, TraceFields], Parameters]] = {
    ("SQS", "SendMessage"): _write_message("MessageBody"),
    ("SQS", "SendMessageBatch"): _write_messages("Entries", "MessageBody"),
    ("SNS", "Publish"): _write_message("Message"),
    ("SNS", "PublishBatch"): _write_messages("PublishBatchRequestEntries", "Message"),
    ("EventBridge", "PutEvents"): _write_events,
    ("Kinesis", "PutRecord"): _write_record,
    ("Kinesis", "PutRecords"): _write_records,
    ("Lambda", "Invoke"): _write_client_context,
    ("Lambda", "InvokeWithResponseStream"): _write_client_context,
    ("SFN", "StartExecution"): _write_trace_header,
    ("SFN", "StartSyncExecution"): _write_trace_header,
}

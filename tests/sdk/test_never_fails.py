"""Whatever event, context and answer: the function is not changed, and its invocation is traced.

LAMBDATRACE_TEST_EXAMPLES says how many are tried of each property; the bar is 100,000.
"""

from __future__ import annotations

import copy
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lambdatrace
from lambdatrace.records import SERVER
from lambdatrace.testing import LambdaContext, recording
from lambdatrace.wire.otlp_protobuf import encode_span

if TYPE_CHECKING:
    from lambdatrace.records import Span
    from lambdatrace.testing import Recorded

EXAMPLES = int(os.environ.get("LAMBDATRACE_TEST_EXAMPLES", "400"))
tried = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)

# Everything `json.loads` may give: lone surrogates, integers of any size, NaN and infinities too.
TEXT = st.text(st.characters(codec=None), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**30, max_value=10**40)
    | st.floats()
    | TEXT
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

# The names that are looked at in an event, and values that lead further into it.
KEYS = st.sampled_from(
    [
        *("Records", "requestContext", "httpMethod", "headers", "multiValueHeaders", "path"),
        *("resource", "routeKey", "rawPath", "rawQueryString", "queryStringParameters"),
        *("multiValueQueryStringParameters", "http", "method", "sourceIp", "identity"),
        *("domainName", "detail-type", "detail", "source", "resources", "time", "id"),
        *("eventSource", "eventSourceARN", "messageId", "attributes", "AWSTraceHeader"),
        *("messageAttributes", "stringValue", "traceparent", "tracestate", "baggage"),
        *("s3", "bucket", "object", "key", "name", "eventName", "eventTime", "kinesis"),
        *("sequenceNumber", "dynamodb", "SequenceNumber", "x-forwarded-for", "host"),
        *("x-amzn-trace-id", "DurableExecutionArn", "CheckpointToken", "InitialExecutionState"),
        *("Operations", "Id", "Type", "StartTimestamp", "Status", "statusCode"),
        *("batchItemFailures", "itemIdentifier"),
    ]
)
VALUES = st.sampled_from(
    [
        *("aws:sqs", "aws:s3", "aws:kinesis", "aws:dynamodb", "GET", "Scheduled Event"),
        *("aws.events", "arn:aws:sqs:eu-west-1:123456789012:queue", "m1", "GET /pets/{id}"),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        *("k=v,k2=v2;p", "503", 502, True, -1, 10**25, "", "\ud800", "2024-01-01T00:00:00Z"),
    ]
)
LIKELY = st.recursive(
    VALUES | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
# Records of one source, as in a batch, with anything below the names of that source.
BATCHES = st.builds(
    lambda source, records: {"Records": [{"eventSource": source, **record} for record in records]},
    st.sampled_from(["aws:sqs", "aws:s3", "aws:kinesis", "aws:dynamodb"]),
    st.lists(st.dictionaries(KEYS, LIKELY, max_size=5), min_size=1, max_size=4),
)
EVENTS = JSON | LIKELY | st.dictionaries(KEYS, LIKELY, max_size=8) | BATCHES


class OddContext:
    """A context with the given attributes; for an exception in the place of one, it is raised."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self._attributes = attributes

    def __getattr__(self, name: str) -> Any:
        try:
            value = self.__dict__["_attributes"][name]
        except KeyError:
            raise AttributeError(name) from None
        if isinstance(value, Exception):
            raise value
        return value


def fail(*_: Any) -> Any:
    raise OSError("not now")


ATTRIBUTES = (
    SCALARS
    | VALUES
    | JSON
    | st.sampled_from([fail, object(), RuntimeError("no"), KeyError("aws_request_id"), type])
    | st.builds(lambda value: lambda *_: value, JSON | LIKELY)
)
NAMES = st.sampled_from(
    [
        *("aws_request_id", "invoked_function_arn", "tenant_id", "w3c"),
        *("get_remaining_time_in_millis", "_epoch_deadline_time_in_ms"),
        *("trace_id", "xray_trace_id", "client_context", "function_name"),
    ]
)
CONTEXTS = (
    st.sampled_from([None, object(), LambdaContext()])
    | SCALARS
    | st.builds(OddContext, st.dictionaries(NAMES, ATTRIBUTES))
)


def recorded_spans(recorded: Recorded) -> list[Span]:
    """What was sent, and what a deadline that is over has left waiting."""
    return recorded.spans + recorded.telemetry.buffer.take(1000)


def as_text(value: Any) -> str:
    """`value` so that it can be compared, NaN with NaN too."""
    return json.dumps(value)


@tried
@given(event=EVENTS, context=CONTEXTS, answer=EVENTS)
def test_any_event_context_and_answer_leave_the_function_as_it_is(
    event: Any, context: Any, answer: Any
) -> None:
    before, answer_before = copy.deepcopy(event), copy.deepcopy(answer)
    seen = []

    def handler(event: Any, context: Any) -> Any:
        seen.append((event, context))
        for message in lambdatrace.messages(event):
            lambdatrace.current_span().set_attribute("message", repr(message)[:9])
        return answer

    with recording() as recorded:  # whose guard lets every failure of ours through
        assert lambdatrace.instrument(handler)(event, context) is answer
        spans = recorded_spans(recorded)
    (root,) = [span for span in spans if span.kind == SERVER]
    assert all(encode_span(span) for span in spans)
    assert seen[0][0] is event
    assert seen[0][1] is context
    assert as_text(event) == as_text(before)
    assert as_text(answer) == as_text(answer_before)
    assert root.end_ns


@tried
@given(event=EVENTS, context=CONTEXTS, error=st.sampled_from([ValueError, KeyError, SystemExit]))
def test_any_event_and_context_leave_the_functions_error_as_it_is(
    event: Any, context: Any, error: type[BaseException]
) -> None:
    raised = error("no")

    def handler(event: Any, context: Any) -> None:
        raise raised

    with recording() as recorded:
        with pytest.raises(error) as caught:
            lambdatrace.instrument(handler)(event, context)
        (root,) = [span for span in recorded_spans(recorded) if span.kind == SERVER]
    assert caught.value is raised
    assert root.attributes["error.type"] == error.__name__


def test_an_event_as_deep_as_json_can_be_is_left_alone() -> None:
    event: Any = {"headers": {}, "httpMethod": "GET"}
    deep: Any = "end"
    for _ in range(900):
        deep = {"Records": [deep]}
    event["requestContext"] = deep
    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(lambda event, _: event)
        for given_event in (event, deep, [deep]):
            assert instrumented(given_event, LambdaContext()) is given_event
        assert len([span for span in recorded.spans if span.kind == SERVER]) == 3

from __future__ import annotations

import base64
import copy
import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.patches.aws_context import add_context

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
X_RAY = "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1"
FIELDS = {"traceparent": TRACEPARENT}
WRITTEN = {"DataType": "String", "StringValue": TRACEPARENT}


def add(service: str, operation: str, parameters: Any, *payloads: str) -> Any:
    before = copy.deepcopy(parameters)
    added = add_context(service, operation, parameters, FIELDS, X_RAY, payloads)
    assert parameters == before, "never in place"
    return added


def attributes(count: int) -> dict[str, Any]:
    return {f"a{number}": {"DataType": "Number", "StringValue": "1"} for number in range(count)}


def test_a_message_has_the_context_among_its_attributes() -> None:
    assert add("SQS", "SendMessage", {"MessageBody": "x", "MessageAttributes": attributes(9)}) == {
        "MessageBody": "x",
        "MessageAttributes": {**attributes(9), "traceparent": WRITTEN},
    }


def test_a_message_with_ten_attributes_takes_no_more() -> None:
    full = {"MessageBody": "x", "MessageAttributes": attributes(10)}
    assert add("SQS", "SendMessage", full) is full


def test_context_that_the_caller_has_put_there_stays() -> None:
    own = {"Message": "x", "MessageAttributes": {"TraceParent": {"StringValue": "mine"}}}
    assert add("SNS", "Publish", own) is own


def test_a_text_message_to_a_phone_gets_nothing() -> None:
    message = {"PhoneNumber": "+1", "Message": "x"}
    assert add("SNS", "Publish", message) is message


@pytest.mark.parametrize("limit", [256 * 1024, 1024 * 1024])
def test_a_request_that_fits_a_limit_still_does(limit: int) -> None:
    size = len("traceparent") + len("String") + len(TRACEPARENT)
    for length, is_added in ((limit - size, True), (limit - size + 1, False), (limit, False)):
        added = add("SQS", "SendMessage", {"MessageBody": "x" * length})
        assert ("MessageAttributes" in added) is is_added


def test_of_a_batch_as_many_messages_have_it_as_fit_together() -> None:
    size = len("traceparent") + len("String") + len(TRACEPARENT)
    body = "ä" * ((256 * 1024 - size) // 4)  # two bytes each
    entries = [{"Id": "1", "MessageBody": body}, {"Id": "2", "MessageBody": body}]
    added = add("SQS", "SendMessageBatch", {"Entries": entries})["Entries"]
    assert ["MessageAttributes" in entry for entry in added] == [True, False]


def test_an_event_has_the_header_and_a_first_key_in_its_detail() -> None:
    entry = {"Source": "shop", "DetailType": "Paid", "Detail": ' { "price": 1.50 }'}
    added = add("EventBridge", "PutEvents", {"Entries": [entry, {}]}, "eventbridge")
    assert added == {
        "Entries": [
            {
                "Source": "shop",
                "DetailType": "Paid",
                "Detail": f' {{"traceparent":"{TRACEPARENT}", "price": 1.50 }}',
                "TraceHeader": X_RAY,
            },
            {"TraceHeader": X_RAY},
        ]
    }


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({**FIELDS, "tracestate": "a=1", "baggage": "user=1"}, ["traceparent", "tracestate"]),
        ({"b3": "1-2-1", "baggage": "user=1"}, []),
    ],
)
def test_a_payload_of_the_users_gets_w3cs_context_and_nothing_else(
    fields: dict[str, str], keys: list[str]
) -> None:
    parameters = {"Entries": [{"Detail": '{"price":1}'}]}
    added = add_context("EventBridge", "PutEvents", parameters, fields, X_RAY, ["eventbridge"])
    assert list(json.loads(added["Entries"][0]["Detail"])) == [*keys, "price"]


def test_a_detail_that_is_no_object_or_has_context_or_is_not_allowed_stays() -> None:
    for detail in ("[1]", "no json", '{"traceparent": "mine"}'):
        added = add("EventBridge", "PutEvents", {"Entries": [{"Detail": detail}]}, "eventbridge")
        assert added["Entries"][0]["Detail"] == detail
    added = add("EventBridge", "PutEvents", {"Entries": [{"Detail": "{}"}]})
    assert added["Entries"][0]["Detail"] == "{}"


def test_a_stream_record_is_changed_only_when_that_is_set() -> None:
    record = {"Data": b'{"a":1}', "PartitionKey": "1"}
    assert add("Kinesis", "PutRecord", record, "eventbridge") is record
    expected = b'{"traceparent":"' + TRACEPARENT.encode() + b'","a":1}'
    assert add("Kinesis", "PutRecord", record, "kinesis")["Data"] == expected
    records = {"Records": [record, {"Data": b"\x00\xff", "PartitionKey": "1"}]}
    added = add("Kinesis", "PutRecords", records, "kinesis")
    assert [one["Data"] for one in added["Records"]] == [expected, b"\x00\xff"]


@pytest.mark.parametrize(
    ("service", "operation", "name", "entry"),
    [
        ("SQS", "SendMessageBatch", "Entries", {"Id": "1", "MessageBody": "x"}),
        ("SNS", "PublishBatch", "PublishBatchRequestEntries", {"Id": "1", "Message": "x"}),
        ("EventBridge", "PutEvents", "Entries", {"Detail": "{}", "Resources": ("arn",)}),
        ("Kinesis", "PutRecords", "Records", {"Data": b"{}", "PartitionKey": "1"}),
    ],
)
def test_a_tuple_of_entries_has_the_context_as_a_list_has(
    service: str, operation: str, name: str, entry: dict[str, Any]
) -> None:
    as_tuple = add(service, operation, {name: (entry, {**entry, "Id": "2"})}, "kinesis")
    as_list = add(service, operation, {name: [entry, {**entry, "Id": "2"}]}, "kinesis")
    assert as_tuple == as_list
    assert as_tuple[name][0] != entry


@given(
    st.dictionaries(st.text(), st.floats(allow_nan=False) | st.text(), max_size=4),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
)
def test_a_payload_keeps_its_own_keys_and_stays_what_it_was_to_its_reader(
    value: dict[str, Any], encoding: str
) -> None:
    payload = json.dumps(value, ensure_ascii=False).encode(encoding, "surrogatepass")
    added = add("Kinesis", "PutRecord", {"Data": payload}, "kinesis")["Data"]
    read = json.loads(added.decode(encoding, "surrogatepass"))
    read.pop("traceparent", None)
    value.pop("traceparent", None)
    assert read == value


@pytest.mark.parametrize("limit", [256 * 1024, 1024 * 1024])
def test_events_that_fit_a_limit_still_do_as_eventbridge_counts(limit: int) -> None:
    key = len(f'"traceparent":"{TRACEPARENT}",')
    entry = {
        "Time": datetime(2026, 1, 1, tzinfo=timezone.utc),  # 14 bytes
        "Source": "shop",
        "DetailType": "Paid",
        "Resources": ["arn:1", "ä"],
    }
    others = 14 + 4 + 4 + 5 + 2
    for room, is_added in ((key, True), (key - 1, False)):
        detail = json.dumps({"a": ""})
        detail = detail[:-2] + "x" * (limit - room - others - len(detail)) + detail[-2:]
        entries = {"Entries": [{**entry, "Detail": detail}]}
        (added,) = add("EventBridge", "PutEvents", entries, "eventbridge")["Entries"]
        assert ("traceparent" in added["Detail"]) is is_added


@pytest.mark.parametrize(("limit", "count"), [(5 * 1024 * 1024, 6), (10 * 1024 * 1024, 11)])
def test_of_stream_records_as_many_have_it_as_fit_together(limit: int, count: int) -> None:
    key = len(f'"traceparent":"{TRACEPARENT}",')
    each = (limit - key) // count
    data = b'{"a":"' + b"x" * (each - len(b'{"a":""}') - len("key")) + b'"}'
    records = {"Records": [{"Data": data, "PartitionKey": "key"}] * count}
    added = add("Kinesis", "PutRecords", records, "kinesis")["Records"]
    assert [b"traceparent" in record["Data"] for record in added] == [True] + [False] * (count - 1)


@pytest.mark.parametrize("limit", [1024 * 1024, 10 * 1024 * 1024])
def test_a_stream_record_that_fits_a_limit_still_does(limit: int) -> None:
    key = len(f'"traceparent":"{TRACEPARENT}",')
    for room, is_added in ((key, True), (key - 1, False)):
        data = b'{"a":"' + b"x" * (limit - room - len(b'{"a":""}') - len("key")) + b'"}'
        for call, parameters in (
            ("PutRecord", {"Data": data, "PartitionKey": "key"}),
            ("PutRecords", {"Records": [{"Data": data, "PartitionKey": "key"}]}),
        ):
            added = add("Kinesis", call, parameters, "kinesis")
            record = added["Records"][0] if "Records" in added else added
            assert (b"traceparent" in record["Data"]) is is_added


def client_context(parameters: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(parameters["ClientContext"]))


def test_an_invoked_function_gets_it_in_the_client_context_beside_what_is_there() -> None:
    assert client_context(add("Lambda", "Invoke", {})) == {"w3c": FIELDS, "custom": FIELDS}
    given = {"custom": {"a": 1}, "env": {"locale": "en"}}
    text = base64.b64encode(json.dumps(given).encode()).decode()
    assert client_context(add("Lambda", "Invoke", {"ClientContext": text})) == {
        "custom": {"a": 1, **FIELDS},
        "env": {"locale": "en"},
        "w3c": FIELDS,
    }


def test_a_client_context_stays_within_its_limit_or_as_it_is() -> None:
    def context(length: int) -> dict[str, Any]:
        text = json.dumps({"custom": {"a": "x" * length}}).encode()
        return {"ClientContext": base64.b64encode(text).decode()}

    added = client_context(add("Lambda", "Invoke", context(2550)))
    assert added["w3c"] == FIELDS
    assert "traceparent" not in added["custom"], "the runtime's own place goes first"
    for parameters in (context(2660), {"ClientContext": "no base64!"}):
        assert add("Lambda", "Invoke", parameters) is parameters


def test_a_state_machine_gets_the_header_unless_it_has_one() -> None:
    assert add("SFN", "StartExecution", {"input": "{}"}) == {"input": "{}", "traceHeader": X_RAY}
    assert add("SFN", "StartExecution", {"traceHeader": "mine"}) == {"traceHeader": "mine"}


def test_other_calls_go_out_as_they_are() -> None:
    parameters = {"TableName": "orders"}
    assert add("DynamoDB", "PutItem", parameters) is parameters


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("SQS", "SendMessage", {"MessageAttributes": 7}),
        ("SQS", "SendMessageBatch", {"Entries": [None, 7]}),
        ("SQS", "SendMessageBatch", {"Entries": None}),
        ("EventBridge", "PutEvents", {"Entries": [None]}),
        ("Kinesis", "PutRecords", {"Records": [None, {}]}),
        ("Lambda", "Invoke", {"ClientContext": 7}),
    ],
)
def test_what_botocore_will_refuse_is_left_for_it_to_refuse(
    service: str, operation: str, parameters: dict[str, Any]
) -> None:
    assert add(service, operation, parameters, "eventbridge", "kinesis") == parameters

"""Documents keep the Developer Guide's rules (`x_ray_segment.schema.json`) and the SDK's shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aws_xray_sdk.core.models.segment import Segment
from aws_xray_sdk.core.models.subsegment import Subsegment
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace.records import Event, Link, Span, SpanContext
from lambdatrace.wire import x_ray_parts
from lambdatrace.wire.x_ray import segment_document
from lambdatrace.wire.x_ray_parts import encode_documents
from tests.sdk.wire.test_otlp_records import spans, texts, values

SCHEMA = json.loads((Path(__file__).parents[2] / "data/x_ray_segment.schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
TRACE_ID, SPAN_ID, PARENT_ID = "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8", "1" * 16

known_names = st.sampled_from(
    [
        *("http.request.method", "http.response.status_code", "url.full", "client.address"),
        *("rpc.system", "rpc.service", "rpc.method", "aws.request_id", "cloud.region"),
        *("aws.dynamodb.table_names", "db.system.name", "db.query.text", "server.address"),
        *("aws.xray.annotations", "aws.xray.metadata.mine", "enduser.id", "error.type"),
    ]
)
# What the libraries' modules write there; a user's own value may be of any type.
typical = {
    "http.response.status_code": st.integers(100, 599),
    "rpc.system": st.just("aws-api"),
    "aws.xray.annotations": st.lists(texts, max_size=60),
    "aws.dynamodb.table_names": st.lists(texts, max_size=2),
}


@st.composite
def any_spans(draw: Any) -> Span:
    span: Span = draw(spans())
    for name in draw(st.lists(known_names, max_size=8)):
        span.attributes[name] = draw(typical.get(name, texts))
    stack = 'Traceback:\n  File "/a.py", line 3, in f\n    x\n' * draw(st.integers(0, 60))
    if draw(st.booleans()):
        attributes = {"exception.type": "E", "exception.stacktrace": stack}
        span.events.append(Event("exception", 1, attributes))
    return span


def span_of(name: str = "work", **options: Any) -> Span:
    parent = options.pop("parent", SpanContext(TRACE_ID, PARENT_ID))
    return Span(name, SpanContext(TRACE_ID, SPAN_ID), parent, 1_700_000_000_500_000_000, **options)


def document_of(span: Span) -> dict[str, Any]:
    span.end(1_700_000_001_250_000_000)
    return segment_document(span)


@given(any_spans())
def test_the_document_of_any_span_keeps_the_rules(span: Span) -> None:
    (encoded,), cut = encode_documents(segment_document(span), 65_000)
    VALIDATOR.validate(json.loads(encoded))
    assert cut == 0


def said(value: Any, path: tuple[str, ...] = ()) -> set[tuple[Any, ...]]:
    """Everything a document says, with the keys it is under; no matter in which item of a list."""
    if isinstance(value, dict) and value:
        return {found for key in value for found in said(value[key], (*path, key))}
    if isinstance(value, list) and value:
        return {found for item in value for found in said(item, path)}
    return {(*path, repr(value))}


@settings(max_examples=20, deadline=None)
@given(any_spans(), st.dictionaries(texts, values, max_size=4), st.integers(4_000, 9_000))
def test_a_document_that_is_too_long_is_divided_and_nothing_of_it_is_lost(
    span: Span, attributes: dict[str, Any], bytes_max: int
) -> None:
    many: list[Any] = [{"id": n, "text": "ü" * 700, "more": [n, "\n" * 600]} for n in range(9)]
    span.attributes.update({"many": many, "deep": {"a": {"b": [["x" * 900] * 9]}}, **attributes})
    span.attributes["aws.xray.metadata.mine"] = json.dumps({"m" * 500: many})
    span.attributes["url.full"] = span.attributes["db.query.text"] = "u" * 1500
    span.attributes["db.system.name"] = "sql"
    for number in range(20):
        span.add_event("retry", number, {f"k{n}": f"{number} {n} " * 30 for n in range(9)})
        stack = "".join(f'  File "/{number}/{n}.py", line {n}, in f\n' for n in range(60))
        span.events.append(Event("exception", 1, {"exception.stacktrace": stack}))
    whole = segment_document(span)
    encoded, cut = encode_documents(whole, bytes_max)
    documents = [json.loads(one) for one in encoded]
    assert cut == 0
    assert max(map(len, encoded)) <= bytes_max
    for document in documents:
        VALIDATOR.validate(document)
    first, *others = documents
    assert said(whole) <= {one for document in documents for one in said(document)}
    assert len({document["id"] for document in documents}) == len(documents)
    for other in others:
        assert (other["parent_id"], other["type"]) == (first["id"], "subsegment")
        assert other["name"] == f"{first['name']} continued"
        assert (other["trace_id"], other["start_time"], other["end_time"]) == (
            first["trace_id"],
            first["start_time"],
            first["end_time"],
        )
    assert encode_documents(whole, bytes_max)[0] == encoded


@pytest.mark.parametrize("text", ["x" * 90_000, "ü" * 90_000, "\x01" * 90_000, '"ü' * 90_000])
def test_only_a_text_that_is_too_long_by_itself_is_cut(text: str) -> None:
    span = span_of(attributes={"a": text, "b": "b" * 60_000, "k" * 70_000: 7, "tier": "gold"})
    span.add_event("exception", 1, {"exception.message": text})
    encoded, cut = encode_documents(document_of(span), 65_000)
    documents = [json.loads(one) for one in encoded]
    assert cut == 3
    assert max(map(len, encoded)) <= 65_000
    found: dict[str, Any] = {}
    for document in documents:
        VALIDATOR.validate(document)
        found.update(document.get("metadata", {}).get("default", {}))
    assert (found["b"], found["tier"], found["k" * 32 + "…"]) == ("b" * 60_000, "gold", 7)
    assert text.startswith(found["a"].removesuffix("…"))
    causes = [e for document in documents for e in document.get("cause", {}).get("exceptions", ())]
    (message,) = (cause["message"] for cause in causes if "message" in cause)
    for kept in (found["a"], message):
        assert 64_000 < len(json.dumps(kept, ensure_ascii=False).encode()) < 65_000


def test_a_span_of_all_it_may_have_is_divided_in_bounded_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    span = span_of()
    for number in range(128):
        span.add_event("e", number, {f"k{n}": "v" * 300 for n in range(20)})
    document, written = document_of(span), [0]
    encode = x_ray_parts.encode

    def counted(value: Any) -> bytes:
        encoded = encode(value)
        written[0] += len(encoded)
        return encoded

    monkeypatch.setattr(x_ray_parts, "encode", counted)
    encoded, cut = encode_documents(document, 65_000)
    length = sum(map(len, encoded))
    assert cut == 0
    assert length > 128 * 20 * 300
    assert written[0] < 12 * length


def test_a_call_to_aws_has_all_its_fields() -> None:
    span = span_of(
        "DynamoDB.GetItem",
        kind=3,
        attributes={
            "rpc.system": "aws-api",
            "rpc.service": "DynamoDB",
            "rpc.method": "GetItem",
            "cloud.region": "eu-west-1",
            "aws.request_id": "R1",
            "aws.dynamodb.table_names": ["orders"],
            "http.response.status_code": 400,
            "order.id": 7,
            "tier": "gold",
            "aws.xray.annotations": ["order.id"],
            "aws.xray.metadata.mine": '{"a": [1]}',
        },
        links=[Link(SpanContext("2" * 32, "3" * 16), {"n": 1})],
    )
    span.add_event("retry", 1_700_000_000_750_000_000, {"attempt": 2})
    span.set_status(2, "no such table")
    assert document_of(span) == {
        "id": SPAN_ID,
        "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
        "parent_id": PARENT_ID,
        "type": "subsegment",
        "name": "DynamoDB",
        "namespace": "aws",
        "start_time": 1_700_000_000.5,
        "end_time": 1_700_000_001.25,
        "error": True,
        "cause": {
            "exceptions": [{"id": "53995c3f42cd8ad9", "message": "no such table", "type": ""}]
        },
        "http": {"response": {"status": 400}},
        "aws": {
            "operation": "GetItem",
            "region": "eu-west-1",
            "request_id": "R1",
            "table_name": "orders",
            "xray": {"sdk": "lambdatrace", "sdk_version": "0.1.0"},
        },
        "annotations": {"order_id": 7},
        "metadata": {
            "default": {
                "rpc.system": "aws-api",
                "rpc.service": "DynamoDB",
                "rpc.method": "GetItem",
                "cloud.region": "eu-west-1",
                "aws.request_id": "R1",
                "aws.dynamodb.table_names": ["orders"],
                "http.response.status_code": 400,
                "tier": "gold",
                "events": [
                    {"name": "retry", "time": 1_700_000_000.75, "attributes": {"attempt": 2}}
                ],
            },
            "mine": {"a": [1]},
        },
        "links": [
            {
                "trace_id": "1-22222222-222222222222222222222222",
                "id": "3" * 16,
                "attributes": {"n": 1},
            }
        ],
    }


def test_a_subsegment_reads_as_the_x_ray_sdks_own() -> None:
    segment = Segment("orders")
    segment.trace_id = f"1-{TRACE_ID[:8]}-{TRACE_ID[8:]}"
    subsegment = Subsegment("api.example", "remote", segment)
    subsegment.id, subsegment.parent_id = SPAN_ID, PARENT_ID
    subsegment.start_time = 1_700_000_000.5
    subsegment.put_http_meta("method", "GET")
    subsegment.put_http_meta("url", "https://api.example/x")
    subsegment.put_http_meta("status", 503)
    subsegment.add_fault_flag()
    subsegment.put_annotation("tier", "gold")
    subsegment.put_metadata("n", 1)
    subsegment.add_exception(ValueError("no"), [("/var/task/app.py", 7, "handler", "")])
    subsegment.close(1_700_000_001.25)
    expected = json.loads(subsegment.serialize())
    span = span_of(
        "GET",
        kind=3,
        attributes={
            "server.address": "api.example",
            "http.request.method": "GET",
            "url.full": "https://api.example/x",
            "http.response.status_code": 503,
            "tier": "gold",
            "n": 1,
            "aws.xray.annotations": ["tier"],
        },
    )
    stack = 'Traceback:\n  File "app.py", line 7, in handler\n    x\nValueError: no\n'
    span.add_event(
        "exception",
        1,
        {"exception.type": "ValueError", "exception.message": "no", "exception.stacktrace": stack},
    )
    found = document_of(span)
    del expected["in_progress"], expected["cause"]["working_directory"]
    del found["aws"], expected["cause"]["exceptions"][0]["id"]
    del found["cause"]["exceptions"][0]["id"]
    # `remote` is the SDK's own guess, and what has a field is not in its metadata too.
    assert found["cause"]["exceptions"][0].pop("remote") is True
    del expected["cause"]["exceptions"][0]["remote"]
    found["metadata"]["default"] = {"n": found["metadata"]["default"]["n"]}
    assert found == expected


@pytest.mark.parametrize(
    ("status", "code", "flags"),
    [
        (0, 0, {}),
        (0, 2, {"fault": True}),
        (200, 0, {}),
        (404, 2, {"error": True}),
        (429, 2, {"error": True, "throttle": True}),
        (503, 0, {"fault": True}),
    ],
)
def test_whose_fault_it_was_is_told_by_the_status(
    status: int, code: int, flags: dict[str, bool]
) -> None:
    span = span_of(attributes={"http.response.status_code": status} if status else {})
    span.status_code = code
    document = document_of(span)
    assert {n: document[n] for n in ("error", "throttle", "fault") if n in document} == flags


def test_a_span_without_a_parent_is_the_functions_segment() -> None:
    document = document_of(span_of("orders", parent=None, attributes={"enduser.id": 7}))
    assert (document["origin"], document["user"]) == ("AWS::Lambda::Function", "7")
    assert "type" not in document
    assert "parent_id" not in document

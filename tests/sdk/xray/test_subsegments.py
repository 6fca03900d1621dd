from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aws_xray_sdk import global_sdk_config
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.async_context import AsyncContext
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.exceptions.exceptions import (
    AlreadyEndedException,
    FacadeSegmentMutationException,
)
from aws_xray_sdk.core.models.trace_header import TraceHeader
from aws_xray_sdk.ext import util

import lambdatrace
import lambdatrace.testing
from lambdatrace.records import CLIENT, ERROR, INTERNAL, UNSET

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.testing import Recorded

    Handle = Callable[[Callable[[], Any]], Any]


def parents(recorded: Recorded) -> dict[str, str]:
    """Each span's name → its parent's."""
    names = {span.span_id: span.name for span in recorded.spans}
    return {
        span.name: names[span.parent.span_id] for span in recorded.spans if span.parent is not None
    }


def test_subsegments_and_spans_are_one_tree(recorded: Recorded, handle: Handle) -> None:
    ids = {}

    @xray_recorder.capture("captured")  # type: ignore[untyped-decorator]
    def captured() -> int:
        with lambdatrace.span("ours"):
            return int(inner())

    @xray_recorder.capture()  # type: ignore[untyped-decorator]
    def inner() -> int:
        with xray_recorder.in_subsegment("block") as subsegment:
            ids["block"] = subsegment.id, subsegment.trace_id
            assert lambdatrace.current_span().span_id == subsegment.id
            begun = xray_recorder.begin_subsegment("begun", namespace="remote")
            assert xray_recorder.current_subsegment() is begun
            xray_recorder.end_subsegment()
        return 7

    assert handle(captured) == 7
    assert parents(recorded).items() >= {
        ("captured", "orders"),
        ("ours", "captured"),
        ("inner", "ours"),
        ("block", "inner"),
        ("begun", "block"),
    }
    block = recorded.span("block")
    assert ids["block"] == (block.span_id, f"1-00000000-{1:024x}")
    assert {span.trace_id for span in recorded.spans} == {f"{1:032x}"}
    assert (block.kind, recorded.span("begun").kind) == (INTERNAL, CLIENT)
    assert (block.scope.name, block.scope.version) == ("aws_xray_sdk", "2.15.0")
    assert block.status_code == UNSET
    assert all(span.end_ns for span in recorded.spans)


def test_annotations_and_metadata_are_attributes_that_x_ray_can_have_back(
    recorded: Recorded, handle: Handle
) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("work") as subsegment:
            xray_recorder.put_annotation("tier", "gold")
            subsegment.put_annotation("paid", value=True)
            subsegment.put_annotation("not allowed!", "dropped, as theirs")
            xray_recorder.put_metadata("cart", {"items": [1, 2]}, "shop")
            subsegment.put_metadata("note", {"a", "b"} & {"a"})

    handle(call)
    assert recorded.span("work").attributes == {
        "tier": "gold",
        "paid": True,
        "aws.xray.annotations": ["tier", "paid"],
        "aws.xray.metadata.shop": '{"cart": {"items": [1, 2]}}',
        "aws.xray.metadata.default": '{"note": ["a"]}',
    }


def test_metadata_that_json_does_not_have_is_written_as_text(
    recorded: Recorded, handle: Handle
) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("work") as subsegment:
            subsegment.put_metadata("odd", {("a", 1): 2, "n": float("nan"), "b": {3: float("inf")}})

    handle(call)
    span = recorded.span("work")
    assert span.attributes == {
        "aws.xray.metadata.default": """{"odd": {"('a', 1)": 2, "n": "nan", "b": {"3": "inf"}}}"""
    }
    assert span.end_ns


def test_a_subsegment_that_cannot_be_read_ends_its_span_all_the_same(
    recorded: Recorded, handle: Handle
) -> None:
    recorded.telemetry.guard.is_strict = False

    def call() -> None:
        with xray_recorder.in_subsegment("work") as subsegment:
            subsegment.aws = None
            subsegment.put_annotation("tier", "gold")

    handle(call)
    span = recorded.span("work")
    assert span.end_ns
    assert span.attributes == {"tier": "gold", "aws.xray.annotations": ["tier"]}
    assert recorded.telemetry.guard.failures == 1


def test_an_exception_is_an_event_and_the_status_and_goes_on(
    recorded: Recorded, handle: Handle
) -> None:
    @xray_recorder.capture("outer")  # type: ignore[untyped-decorator]
    def outer() -> None:
        with xray_recorder.in_subsegment("inner"):
            raise KeyError("gone")

    def call() -> None:
        with pytest.raises(KeyError, match="gone"):
            outer()

    handle(call)
    for name in ("inner", "outer"):
        span = recorded.span(name)
        assert span.status_code == ERROR
        assert span.attributes["error.type"] == "KeyError"
        (event,) = span.events
        assert event.attributes["exception.message"] == "'gone'"
        assert "raise KeyError" in str(event.attributes["exception.stacktrace"])


def test_an_exception_that_was_not_raised_has_the_stack_it_is_given(
    recorded: Recorded, handle: Handle
) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("work"):
            subsegment = xray_recorder.current_subsegment()
            subsegment.add_exception(ValueError("no"), [("app.py", 7, "pay", "pay(1)")])

    handle(call)
    (event,) = recorded.span("work").events
    text = '  File "app.py", line 7, in pay\n    pay(1)\n'
    assert event.attributes["exception.stacktrace"] == text


@pytest.mark.parametrize(
    ("status", "error"), [(200, None), (404, "404"), (429, "429"), (503, "503")]
)
def test_http_data_is_the_conventions(
    recorded: Recorded, handle: Handle, status: int, error: str | None
) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("example.com", namespace="remote") as subsegment:
            subsegment.put_http_meta("method", "GET")
            subsegment.put_http_meta("url", "https://example.com/")
            subsegment.put_http_meta("status", status)

    handle(call)
    span = recorded.span("example.com")
    assert span.status_code == (ERROR if error else UNSET)
    assert span.attributes == {
        "http.request.method": "GET",
        "url.full": "https://example.com/",
        "http.response.status_code": status,
        **({"error.type": error} if error else {}),
    }


@pytest.mark.parametrize(
    ("method", "attributes"),
    [
        ("post", {"http.request.method": "POST", "http.request.method_original": "post"}),
        ("PATCH", {"http.request.method": "PATCH"}),
        ("Brew", {"http.request.method": "_OTHER", "http.request.method_original": "Brew"}),
    ],
)
def test_the_method_of_a_request_is_one_of_https_in_capitals(
    recorded: Recorded, handle: Handle, method: str, attributes: dict[str, str]
) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("example.com", namespace="remote") as subsegment:
            subsegment.put_http_meta("method", method)

    handle(call)
    assert recorded.span("example.com").attributes == attributes


def test_data_of_aws_and_of_databases_is_the_conventions(
    recorded: Recorded, handle: Handle
) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("dynamodb", namespace="aws") as subsegment:
            subsegment.set_aws({"operation": "Query", "table_name": "orders", "attempts": 2})
        with xray_recorder.in_subsegment("execute") as subsegment:
            subsegment.name = "shop@db"
            subsegment.namespace = "remote"
            subsegment.set_sql({"database_type": "postgresql", "sanitized_query": "select ?"})

    handle(call)
    assert recorded.span("dynamodb").attributes == {
        "rpc.system": "aws-api",
        "rpc.service": "dynamodb",
        "rpc.method": "Query",
        "aws.dynamodb.table_names": ["orders"],
        "aws.attempts": 2,
    }
    database = recorded.span("shop@db")
    assert database.kind == CLIENT
    assert database.attributes == {
        "db.system.name": "postgresql",
        "db.query.text": "select ?",
    }


def test_tasks_that_run_at_a_time_nest_rightly(recorded: Recorded, handle: Handle) -> None:
    @xray_recorder.capture_async("task")  # type: ignore[untyped-decorator]
    async def task(number: int, started: list[int], everybody: asyncio.Event) -> None:
        async with xray_recorder.in_subsegment_async(f"step {number}"):
            started.append(number)
            if len(started) == 3:
                everybody.set()
            await everybody.wait()
            xray_recorder.put_annotation("number", number)
            with lambdatrace.span(f"ours {number}"):
                await asyncio.sleep(0)

    async def main() -> None:
        everybody, started = asyncio.Event(), list[int]()
        with xray_recorder.in_subsegment("all"):
            await asyncio.gather(*(task(number, started, everybody) for number in range(3)))

    handle(lambda: asyncio.run(main()))
    tasks = {span.span_id for span in recorded.spans if span.name == "task"}
    assert len(tasks) == 3
    for number in range(3):
        step = recorded.span(f"step {number}")
        assert step.attributes["number"] == number
        assert step.parent is not None
        assert step.parent.span_id in tasks
        assert parents(recorded)[f"ours {number}"] == f"step {number}"
    assert parents(recorded)["task"] == "all"


def test_a_thread_goes_on_from_the_entity_that_it_is_given(
    recorded: Recorded, handle: Handle
) -> None:
    def work(entity: Any) -> None:
        if entity is not None:
            xray_recorder.set_trace_entity(entity)
        with xray_recorder.in_subsegment("given" if entity is not None else "not given"):
            pass
        xray_recorder.clear_trace_entities()

    def call() -> None:
        with xray_recorder.in_subsegment("above"):
            for entity in (xray_recorder.get_trace_entity(), None):
                thread = threading.Thread(target=work, args=(entity,))
                thread.start()
                thread.join()
        assert xray_recorder.current_subsegment() is None

    handle(call)
    assert parents(recorded)["given"] == "above"
    assert parents(recorded)["not given"] == "orders"


def test_the_segment_is_lambdas_and_cannot_be_changed(
    recorded: Recorded, handle: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    def call() -> None:
        segment = xray_recorder.current_segment()
        assert segment.id == lambdatrace.current_span().span_id
        assert xray_recorder.is_sampled() is True
        for change in (
            lambda: xray_recorder.put_annotation("a", 1),
            lambda: xray_recorder.put_metadata("a", 1),
            lambda: segment.set_user("me"),
            segment.close,
        ):
            with pytest.raises(FacadeSegmentMutationException):
                change()
        with caplog.at_level(logging.WARNING):
            xray_recorder.begin_segment("mine", sampling=1)
            xray_recorder.end_segment()
        assert xray_recorder.current_segment().id == segment.id

    handle(call)
    assert [record.message for record in caplog.records] == [
        "Cannot create segments inside Lambda function. Discarded.",
        "Cannot end segment inside Lambda function. Ignored.",
    ]


def test_what_was_not_ended_is_not_seen_by_the_next_invocation(
    recorded: Recorded, handle: Handle
) -> None:
    def leak() -> None:
        xray_recorder.begin_subsegment("leaked").put_annotation("known", 1)

    def look() -> None:
        assert xray_recorder.current_subsegment() is None
        with xray_recorder.in_subsegment("next"):
            pass

    handle(leak)
    handle(look)
    leaked = recorded.span("leaked")
    assert leaked.attributes["lambdatrace.incomplete"] is True
    assert leaked.attributes["known"] == 1
    roots = {span.span_id: span.trace_id for span in recorded.spans if span.name == "orders"}
    following = recorded.span("next")
    assert following.parent is not None
    assert roots[following.parent.span_id] == following.trace_id != leaked.trace_id


def test_outside_of_an_invocation_a_subsegment_is_discarded_as_in_an_init(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    with xray_recorder.in_subsegment("early") as subsegment:
        subsegment.put_annotation("a", 1)
    assert [record.message for record in caplog.records] == [
        "Subsegment early discarded due to Lambda worker still initializing"
    ]
    assert recorded.spans == []


def test_ending_twice_raises_what_theirs_raises(
    recorded: Recorded, handle: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    def call() -> None:
        subsegment = xray_recorder.begin_subsegment("once")
        subsegment.close()
        with pytest.raises(AlreadyEndedException):
            subsegment.put_annotation("a", 1)
        xray_recorder.end_subsegment()

    handle(call)
    assert recorded.span("once").attributes == {}
    assert [record.message for record in caplog.records] == ["No subsegment to end."]


def test_a_trace_that_is_not_sampled_has_no_subsegments(handle: Handle) -> None:
    def call() -> None:
        assert xray_recorder.is_sampled() is False
        with xray_recorder.in_subsegment("work") as subsegment:
            subsegment.put_annotation("a", 1)
            assert subsegment.sampled is False

    with lambdatrace.testing.recording({"OTEL_TRACES_SAMPLER": "always_off"}) as recorded:
        handle(call)
        assert recorded.spans == []


def test_a_failed_trace_that_is_kept_has_its_subsegments(handle: Handle) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("work"):
            raise ValueError("no")

    environment = {"OTEL_TRACES_SAMPLER": "always_off", "LAMBDATRACE_KEEP_UNSAMPLED": "errors"}
    with lambdatrace.testing.recording(environment) as recorded:
        with pytest.raises(ValueError, match="no"):
            handle(call)
        assert recorded.span("work").attributes["error.type"] == "ValueError"


def test_a_subsegment_without_sampling_is_none_of_ours(recorded: Recorded, handle: Handle) -> None:
    def call() -> None:
        xray_recorder.begin_subsegment_without_sampling("quiet")
        with xray_recorder.in_subsegment("quiet too"), lambdatrace.span("ours"):
            pass
        xray_recorder.end_subsegment()

    handle(call)
    assert parents(recorded)["ours"] == "orders"
    assert "quiet" not in str([span.name for span in recorded.spans])


@pytest.mark.parametrize(
    ("lambdas", "sampled", "more"),
    [("0", 0, {}), ("1", 1, {}), ("1;Lineage=a:1", 1, {"Lineage": "a:1"})],
)
def test_the_header_that_theirs_sends_has_our_ids_and_lambdas_decision(
    recorded: Recorded,
    handle: Handle,
    monkeypatch: pytest.MonkeyPatch,
    lambdas: str,
    sampled: int,
    more: dict[str, str],
) -> None:
    root = f"1-65534b90-{7:024x}"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={root};Parent={5:016x};Sampled={lambdas}")
    headers: dict[str, str] = {}

    def call() -> None:
        with xray_recorder.in_subsegment("call") as subsegment:
            util.inject_trace_header(headers, subsegment)

    handle(call)
    span_id = recorded.span("call").span_id
    assert headers.pop("traceparent") == f"00-65534b90{7:024x}-{span_id}-01"
    (text,) = headers.values()
    header = TraceHeader.from_header_str(text)
    assert (header.root, header.parent) == (root, span_id)
    assert (int(header.sampled), header.data) == (sampled, more)


def test_the_context_and_the_emitter_stay_ours_whatever_is_configured(
    recorded: Recorded, handle: Handle
) -> None:
    class Emitter:
        def send_entity(self, entity: Any) -> None:
            raise AssertionError("it must not be sent twice")

    async def main() -> None:
        xray_recorder.configure(
            service="shop", context=AsyncContext(use_task_factory=False), emitter=Emitter()
        )
        async with xray_recorder.in_subsegment_async("work"):
            pass

    context, emitter = xray_recorder.context.theirs, xray_recorder.emitter.theirs
    try:
        handle(lambda: asyncio.run(main()))
    finally:
        xray_recorder.configure(context=context, emitter=emitter)
    assert parents(recorded)["work"] == "orders"


def test_where_lambdatrace_is_off_the_sdk_is_as_it_was(recorded: Recorded) -> None:
    sent = []

    class Emitter:
        def send_entity(self, entity: Any) -> None:
            sent.append(json.loads(entity.serialize()))

    context, emitter = xray_recorder.context.theirs, xray_recorder.emitter.theirs
    with lambdatrace.testing.recording({"LAMBDATRACE_ENABLED": "false"}):
        xray_recorder.configure(context=Context(), emitter=Emitter())
        try:
            with xray_recorder.in_segment("mine", sampling=1), xray_recorder.in_subsegment("work"):
                pass
        finally:
            xray_recorder.configure(context=context, emitter=emitter)
    (document,) = sent
    assert [part["name"] for part in document["subsegments"]] == ["work"]


def test_a_subsegment_can_still_be_written_as_a_document(
    recorded: Recorded, handle: Handle
) -> None:
    def call() -> str:
        with xray_recorder.in_subsegment("work") as subsegment:
            return str(subsegment.serialize())

    document = json.loads(handle(call))
    assert document["name"] == "work"
    assert document["id"] == recorded.span("work").span_id
    assert not [key for key in document if key.startswith("_")]


def test_the_sdk_switched_off_records_nothing(recorded: Recorded, handle: Handle) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("work"):
            pass

    global_sdk_config.set_sdk_enabled(value=False)
    try:
        handle(call)
    finally:
        global_sdk_config.set_sdk_enabled(value=True)
    assert "work" not in [span.name for span in recorded.spans]


def test_powertools_tracer_works_on_it(
    recorded: Recorded, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")  # else it is off
    from aws_lambda_powertools import Tracer

    tracer = Tracer(service="shop", auto_patch=False)

    @tracer.capture_method
    def pay(amount: int) -> int:
        tracer.put_annotation("gold", value=True)
        return amount

    assert handle(lambda: pay(7)) == 7
    (span,) = [span for span in recorded.spans if span.scope.name == "aws_xray_sdk"]
    assert span.name.endswith("pay")
    assert span.attributes["gold"] is True

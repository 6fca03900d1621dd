from __future__ import annotations

import copy
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace import telemetry
from lambdatrace.errors import SendError
from lambdatrace.guard import Guard
from lambdatrace.records import ERROR, SERVER, UNSET
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT, START_NS, LambdaContext, MemorySink, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.testing import Recorded

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:orders"
X_RAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8"


@contextmanager
def x_ray_header(value: str) -> Iterator[None]:
    """As the runtime client sets it for an invocation."""
    os.environ["_X_AMZN_TRACE_ID"] = value
    try:
        yield
    finally:
        del os.environ["_X_AMZN_TRACE_ID"]


def answer(event: Any, context: Any) -> Any:
    """Handle an event by giving it back."""
    return event


def test_the_invocations_span_has_the_facts_of_the_invocation() -> None:
    with recording() as recorded:
        handler = lambdatrace.instrument(answer)
        recorded.clock.advance(10)
        assert handler({"a": 1}, LambdaContext(invoked_function_arn=f"{ARN}:live")) == {"a": 1}
        span = recorded.span("orders")
    assert (span.kind, span.status_code, span.parent) == (SERVER, UNSET, None)
    assert (span.start_ns, span.end_ns) == (START_NS + 10_000_000, START_NS + 10_000_000)
    assert span.attributes == {
        "faas.coldstart": True,
        "faas.invocation_id": "11111111-2222-3333-4444-555555555555",
        "aws.lambda.invoked_arn": f"{ARN}:live",
        "cloud.account.id": "123456789012",
        "cloud.resource_id": ARN,
    }


def test_the_first_invocation_is_cold_and_carries_the_init_the_others_are_warm() -> None:
    with recording() as recorded:
        handler = lambdatrace.instrument(answer)
        for _ in range(2):
            handler({}, LambdaContext())
        invocations = [span for span in recorded.spans if span.name == "orders"]
        init, imported = recorded.span("init orders"), recorded.span("import app")
    assert [span.attributes["faas.coldstart"] for span in invocations] == [True, False]
    assert init.parent is invocations[0].context
    assert imported.parent is init.context
    assert init.attributes == {
        "faas.coldstart": True,
        "aws.lambda.initialization_type": "on-demand",
    }
    assert init.start_ns < imported.start_ns <= imported.end_ns == init.end_ns == START_NS


def test_provisioned_concurrency_is_no_cold_start() -> None:
    with recording({"AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency"}) as recorded:
        lambdatrace.instrument(answer)({}, LambdaContext())
        assert recorded.span("orders").attributes["faas.coldstart"] is False


def test_w3c_context_of_an_http_request_is_the_parent() -> None:
    event = {
        "requestContext": {"http": {"method": "GET", "path": "/"}},
        "headers": {"Traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "v=1"},
    }
    with recording() as recorded, x_ray_header(f"{X_RAY};Sampled=1"):
        lambdatrace.instrument(answer)(event, LambdaContext())
        span = recorded.span("GET")
    assert span.parent is not None
    assert (span.trace_id, span.parent.span_id, span.context.trace_state) == (
        TRACE_ID,
        SPAN_ID,
        "v=1",
    )


def test_w3c_context_in_the_client_context_is_the_parent() -> None:
    context = LambdaContext(w3c={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})
    with recording() as recorded:
        lambdatrace.instrument(answer)({}, context)
        assert recorded.span("orders").trace_id == TRACE_ID


def test_a_sampled_x_ray_header_is_the_parent() -> None:
    with recording() as recorded, x_ray_header(f"{X_RAY};Sampled=1;Lineage=1:0399f0f7:0"):
        lambdatrace.instrument(answer)({}, LambdaContext())
        span = recorded.span("orders")
    assert span.parent is not None
    assert (span.trace_id, span.parent.span_id) == (
        "5759e988bd862e3fe1be46a994272793",
        "53995c3f42cd8ad8",
    )


def test_an_unsampled_x_ray_header_gives_the_trace_id_and_no_parent() -> None:
    with recording() as recorded, x_ray_header(f"{X_RAY};Sampled=0"):
        lambdatrace.instrument(answer)({}, LambdaContext())
        span = recorded.span("orders")
    assert (span.trace_id, span.parent) == ("5759e988bd862e3fe1be46a994272793", None)


def test_an_unsampled_w3c_parent_means_that_nothing_is_recorded() -> None:
    context = LambdaContext(w3c={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"})
    with recording() as recorded:
        lambdatrace.instrument(answer)({}, context)
        assert recorded.spans == []


@pytest.mark.parametrize(
    ("result", "status", "code"),
    [
        ({"statusCode": 200}, UNSET, 200),
        ({"statusCode": "404"}, UNSET, 404),
        ({"statusCode": 503}, ERROR, 503),
        ({"statusCode": True}, UNSET, None),
        ({"statusCode": 7}, UNSET, None),
        ("plain", UNSET, None),
        (None, UNSET, None),
    ],
)
def test_the_status_of_an_http_answer_is_recorded(result: Any, status: int, code: int) -> None:
    event = {"requestContext": {"http": {"method": "GET"}}, "routeKey": "GET /pets/{id}"}
    with recording() as recorded:
        lambdatrace.instrument(lambda _event, _context: result)(event, LambdaContext())
        span = recorded.span("GET /pets/{id}")
    assert (span.status_code, span.attributes.get("http.response.status_code")) == (status, code)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_the_handler_raises_is_recorded_sent_and_raised_unchanged(
    error: BaseException,
) -> None:
    def fail(event: Any, context: Any) -> None:
        raise error

    with recording() as recorded:
        with pytest.raises(type(error)) as raised:
            lambdatrace.instrument(fail)({}, LambdaContext())
        span = recorded.span("orders")
    assert raised.value is error
    assert (span.status_code, span.attributes["error.type"]) == (ERROR, type(error).__name__)
    assert [event.attributes["exception.message"] for event in span.events] == [str(error)]


def test_metrics_are_written_when_the_invocation_ends() -> None:
    recorded: Recorded

    def handler(event: Any, context: Any) -> None:
        lambdatrace.metric("OrdersPlaced", 1, unit="Count", dimensions={"tier": "gold"})
        lambdatrace.metric("OrdersPlaced", 2, unit="Count", dimensions={"tier": "gold"})
        assert recorded.stdout == ""

    with recording() as recorded:
        lambdatrace.instrument(handler)({}, LambdaContext())
        assert recorded.metric_documents == [
            {
                "requestId": "11111111-2222-3333-4444-555555555555",
                "traceId": recorded.span("orders").trace_id,
                "service": "orders",
                "tier": "gold",
                "OrdersPlaced": [1.0, 2.0],
                "_aws": {
                    "Timestamp": START_NS // 1_000_000,
                    "CloudWatchMetrics": [
                        {
                            "Namespace": "lambdatrace",
                            "Dimensions": [["service", "tier"]],
                            "Metrics": [{"Name": "OrdersPlaced", "Unit": "Count"}],
                        }
                    ],
                },
            }
        ]


def test_metrics_of_a_failed_invocation_are_written_too() -> None:
    def handler(event: Any, context: Any) -> None:
        lambdatrace.metric("Tried", 1)
        raise ValueError

    with recording() as recorded:
        with pytest.raises(ValueError, match=r"^$"):
            lambdatrace.instrument(handler)({}, LambdaContext())
        assert [document["Tried"] for document in recorded.metric_documents] == [1.0]


def test_an_sqs_batch_has_a_span_for_its_processing_linked_to_the_senders() -> None:
    record = {
        "messageId": "m1",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders-queue",
        "attributes": {"AWSTraceHeader": f"{X_RAY};Sampled=1"},
        "body": "{}",
    }
    traceparent = {"stringValue": f"00-{TRACE_ID}-{SPAN_ID}-01", "dataType": "String"}
    second = {**record, "messageId": "m2", "messageAttributes": {"traceparent": traceparent}}
    bodies = []

    def handler(event: Any, context: Any) -> None:
        for message in lambdatrace.messages(event):
            bodies.append(message["messageId"])
            lambdatrace.current_span().set_attribute("seen", message["messageId"])

    with recording() as recorded:
        lambdatrace.instrument(handler)({"Records": [record, second]}, LambdaContext())
        root = recorded.span("orders")
        batch, *messages = sorted(
            (span for span in recorded.spans if span.name == "orders-queue process"),
            key=lambda span: int(span.span_id, 16),
        )
    assert bodies == ["m1", "m2"]
    assert root.attributes["faas.trigger"] == "pubsub"
    assert batch.parent is root.context
    assert batch.attributes == {
        "messaging.system": "aws_sqs",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": 2,
        "messaging.destination.name": "orders-queue",
    }
    sender = ("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8")
    assert [(link.context.trace_id, link.context.span_id) for link in batch.links] == [
        sender,
        sender,
    ]
    assert [span.parent for span in messages] == [batch.context, batch.context]
    assert [span.attributes["seen"] for span in messages] == ["m1", "m2"]
    assert [
        [(link.context.trace_id, link.context.span_id) for link in span.links] for span in messages
    ] == [[sender], [sender, (TRACE_ID, SPAN_ID)]]


def test_decorating_twice_is_the_same_as_once() -> None:
    with recording() as recorded:
        handler = lambdatrace.instrument(answer)
        assert lambdatrace.instrument(handler) is handler
        handler({}, LambdaContext())
        assert len([span for span in recorded.spans if span.name == "orders"]) == 1


@pytest.mark.parametrize(
    "inner_context", [None, LambdaContext(), LambdaContext(aws_request_id="x")]
)
def test_a_decorated_handler_called_by_another_is_part_of_its_invocation(
    inner_context: Any,
) -> None:
    with recording() as recorded:
        inner = lambdatrace.instrument(answer)

        def outer(event: Any, context: Any) -> Any:
            inner(event, inner_context)
            with lambdatrace.span("after"):
                return inner(event, inner_context)

        assert lambdatrace.instrument(outer)({"a": 1}, LambdaContext()) == {"a": 1}
        root = recorded.span("orders")
        assert recorded.span("after").parent is root.context
        assert recorded.span("init orders").parent is root.context
        assert root.attributes["faas.coldstart"] is True
        assert "lambdatrace.incomplete" not in root.attributes


def test_the_decorator_may_have_parentheses() -> None:
    with recording() as recorded:
        assert lambdatrace.instrument()(answer)({}, LambdaContext()) == {}
        assert recorded.span("orders").end_ns


def test_a_message_whose_handling_raises_has_the_error() -> None:
    records = [{"eventSource": "aws:sqs", "messageId": number} for number in ("m1", "m2")]

    def handler(event: Any, context: Any) -> None:
        for message in lambdatrace.messages(event):
            if message["messageId"] == "m2":
                raise ValueError("bad message")

    with recording() as recorded:
        with pytest.raises(ValueError, match="bad message"):
            lambdatrace.instrument(handler)({"Records": records}, LambdaContext())
        spans = {
            span.attributes["messaging.message.id"]: span
            for span in recorded.spans
            if "messaging.message.id" in span.attributes
        }
    assert (spans["m1"].status_code, spans["m2"].status_code) == (UNSET, ERROR)
    assert spans["m2"].attributes["error.type"] == "ValueError"


def test_a_loop_over_messages_that_is_left_early_is_no_error() -> None:
    def handler(event: Any, context: Any) -> None:
        for _ in lambdatrace.messages(event):
            recorded.clock.advance(2)
            break
        recorded.clock.advance(5)

    record = {"eventSource": "aws:sqs", "messageId": "m1"}
    with recording() as recorded:
        lambdatrace.instrument(handler)({"Records": [record, record]}, LambdaContext())
        (span,) = [s for s in recorded.spans if "messaging.message.id" in s.attributes]
    assert (span.end_ns - span.start_ns, span.status_code) == (2_000_000, UNSET)
    assert "lambdatrace.incomplete" not in span.attributes


def test_metrics_flushed_halfway_carry_the_request_id() -> None:
    def handler(event: Any, context: Any) -> None:
        lambdatrace.metric("Early", 1)
        lambdatrace.flush()

    with recording() as recorded:
        lambdatrace.instrument(handler)({}, LambdaContext())
        (document,) = recorded.metric_documents
    assert document["requestId"] == "11111111-2222-3333-4444-555555555555"


def test_dimension_values_that_are_equal_as_keys_stay_apart() -> None:
    def handler(event: Any, context: Any) -> None:
        for value in (1, True, 1.0):
            lambdatrace.metric("Shards", 1, dimensions={"shard": value})  # type: ignore[dict-item]

    with recording() as recorded:
        lambdatrace.instrument(handler)({}, LambdaContext())
        assert [d["shard"] for d in recorded.metric_documents] == ["1", "True", "1.0"]


def test_spans_dropped_from_a_full_buffer_are_told_of_and_counted() -> None:
    reports: list[str] = []
    environment = {**ENVIRONMENT, "OTEL_BSP_MAX_QUEUE_SIZE": "2"}
    current = Telemetry(environment, sink=MemorySink(), guard=Guard(write=reports.append))
    before = telemetry.installed()
    telemetry.install(current)
    try:

        def handler(event: Any, context: Any) -> None:
            for _ in range(5):
                with lambdatrace.span("one of many"):
                    pass

        lambdatrace.instrument(handler)({}, LambdaContext())
    finally:
        telemetry.install(before)
    assert current.losses() == "spans: 6 dropped"
    assert reports == ["the buffer of spans was full: 6 dropped (said once)"]
    assert current.delivery.statistics() == {
        "traces": {
            "sent": 2,
            "retried": 0,
            "rejected": 0,
            "dropped": {"buffer_full": 6, "not_encodable": 0, "not_writable": 0},
            "waiting": 0,
        },
        "metrics": {
            "sent": 0,
            "retried": 0,
            "rejected": 0,
            "dropped": {"buffer_full": 0, "not_encodable": 0, "not_writable": 0, "invalid": 0},
            "waiting": 0,
        },
        "logs": {
            "sent": 0,
            "retried": 0,
            "rejected": 0,
            "dropped": {"buffer_full": 0, "not_encodable": 0, "not_writable": 0},
            "waiting": 0,
        },
        "failures": 1,
    }


def test_a_forked_child_leaves_the_parents_records_to_the_parent() -> None:
    with recording() as recorded:
        with lambdatrace.span("of the parent"):
            pass
        child = os.fork()
        if not child:
            telemetry._forget_parent()
            os._exit(len(recorded.telemetry.buffer) + len(recorded.telemetry.tracer.open_spans))
        assert os.waitpid(child, 0)[1] == 0
        assert len(recorded.telemetry.buffer) == 1


def test_telemetry_that_cannot_be_made_leaves_the_function_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    class BrokenBuffer:
        def __init__(self, size_max: int) -> None:
            if os.environ.pop("BREAK", ""):
                raise OverflowError("too large")

        def __len__(self) -> int:
            return 0

    monkeypatch.setenv("BREAK", "1")
    monkeypatch.setattr(telemetry, "Buffer", BrokenBuffer)
    before = telemetry.installed()
    telemetry.install(None)
    try:
        assert lambdatrace.instrument(answer) is answer
    finally:
        telemetry.install(before)
    assert capsys.readouterr().err == (
        "[lambdatrace] lambdatrace is switched off: OverflowError: too large (said once)\n"
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_LAMBDA_FUNCTION_NAME": ""},
        {"OTEL_SDK_DISABLED": "true"},
        {"LAMBDATRACE_ENABLED": "false"},
    ],
)
def test_outside_lambda_and_when_switched_off_the_handler_is_left_as_it_is(
    environment: dict[str, str],
) -> None:
    with recording(environment) as recorded:
        assert lambdatrace.instrument(answer) is answer
        with lambdatrace.span("nothing") as span:
            lambdatrace.metric("nothing", 1)
            assert not span.is_recording
        assert lambdatrace.flush()
        assert (recorded.spans, recorded.stdout) == ([], "")


def test_a_failing_endpoint_keeps_the_spans_for_the_next_invocation() -> None:
    with recording(sink=MemorySink([SendError("refused")])) as recorded:
        recorded.telemetry.guard.is_strict = False
        handler = lambdatrace.instrument(answer)
        handler({}, LambdaContext())
        assert recorded.spans == []
        recorded.clock.advance(1000)
        handler({}, LambdaContext())
        assert len([span for span in recorded.spans if span.name == "orders"]) == 2


def odd_events() -> list[Any]:
    """What a handler may be given by hand, by a test, or by a service nobody expected."""
    odd: list[Any] = [None, 0, "", "text", [], [1], b"bytes", {1: 2}, object()]
    values: list[Any] = [None, 0, "x", [], {}, [None], [[]], [{}]]
    for value in values:
        odd += [
            {"requestContext": value},
            {"requestContext": {"http": value, "identity": value, "domainName": value}},
            {"requestContext": {}, "httpMethod": value, "headers": value},
            {"requestContext": {}, "httpMethod": "GET", "multiValueHeaders": value},
            {"requestContext": {}, "httpMethod": "GET", "queryStringParameters": value},
            {"requestContext": {"http": {"method": value}}, "routeKey": value, "headers": value},
            {"Records": value},
            {"Records": [{"eventSource": "aws:sqs"}, value]},
            {"Records": [{"eventSource": "aws:sqs", "attributes": value}]},
            {"Records": [{"eventSource": "aws:sqs", "messageAttributes": value}]},
            {"Records": [{"eventSource": "aws:sqs", "eventSourceARN": value, "messageId": value}]},
            {"Records": [{"eventSource": "aws:s3", "s3": value, "eventName": value}]},
            {"Records": [{"eventSource": value}]},
            {"detail-type": value, "source": value, "detail": value, "resources": value},
            {"detail-type": "Scheduled Event", "source": "aws.events", "resources": value},
        ]
    return odd


class OddContext:
    """A context whose every attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "context", [None, 0, "x", object(), LambdaContext(), LambdaContext(w3c={"traceparent": "?"})]
)
def test_odd_events_and_contexts_reach_the_handler_unchanged_and_are_traced(context: Any) -> None:
    with recording() as recorded:

        def handler(event: Any, context: Any) -> Any:
            for _ in lambdatrace.messages(event):
                pass
            return event

        instrumented = lambdatrace.instrument(handler)
        events = odd_events()
        for event in events:
            before = copy.deepcopy(event) if type(event) is not object else event
            assert instrumented(event, context) is event
            assert type(event) is object or event == before
        roots = [span for span in recorded.spans if span.kind == SERVER]
        assert len(roots) == len(events)


def test_every_real_event_is_read_without_an_error_and_left_as_it_was() -> None:
    folder = Path(__file__).parents[3] / "shared" / "events"
    if not folder.is_dir():
        pytest.skip("the collection of real events is not here")
    with recording() as recorded:

        def consume(event: Any, context: Any) -> list[Any]:
            return list(lambdatrace.messages(event))

        handler = lambdatrace.instrument(consume)
        count = 0
        for path in sorted(folder.rglob("*.json")):
            try:
                event = json.loads(path.read_bytes())
            except ValueError:
                continue  # deliberately malformed samples
            before = copy.deepcopy(event)
            handler(event, LambdaContext())
            assert event == before, path.name
            count += 1
        assert len([span for span in recorded.spans if span.kind == SERVER]) == count > 50


def test_a_context_that_raises_costs_its_facts_and_neither_invocation_nor_trace() -> None:
    with recording() as recorded:
        assert lambdatrace.instrument(answer)({"a": 1}, OddContext()) == {"a": 1}
        assert recorded.span("orders").attributes == {"faas.coldstart": True}


def test_a_bad_setting_is_reported_and_the_function_runs() -> None:
    reports: list[str] = []
    Telemetry(
        {**ENVIRONMENT, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "ten"},
        guard=Guard(write=reports.append),
    )
    assert reports == [
        ("OTEL_TRACES_SAMPLER_ARG is 'ten': expected a number from 0 to 1; taken: 1.0 (said once)")
    ]


def test_an_error_of_a_metric_is_reported_once_and_never_raised() -> None:
    reports: list[str] = []
    before = telemetry.installed()
    telemetry.install(Telemetry(ENVIRONMENT, sink=MemorySink(), guard=Guard(write=reports.append)))
    try:
        for _ in range(3):
            lambdatrace.metric("Orders", float("nan"))
        lambdatrace.flush()
    finally:
        telemetry.install(before)
    assert reports == ["metric 'Orders' has value nan: expected a number within ±2^360 (said once)"]


def test_each_rule_that_a_metric_breaks_is_said_once() -> None:
    reports: list[str] = []
    before = telemetry.installed()
    telemetry.install(Telemetry(ENVIRONMENT, sink=MemorySink(), guard=Guard(write=reports.append)))
    try:
        for _ in range(2):
            lambdatrace.metric("Orders", float("nan"))
            lambdatrace.metric("Orders", float("inf"))
            lambdatrace.metric("Orders", 1, unit="Pieces")
        lambdatrace.flush()
    finally:
        telemetry.install(before)
    assert sorted(reports) == [
        "metric 'Orders' has unit 'Pieces': expected a CloudWatch StandardUnit (said once)",
        "metric 'Orders' has value nan: expected a number within ±2^360 (said once)",
    ]

"""The ids of the trace in a function's logs, and logs by OTLP, on the real runtime client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.end_to_end.conftest import attributes, invoke_frozen

if TYPE_CHECKING:
    from lambdatrace.harness import Harness
    from tests.end_to_end.conftest import Deploy, OtlpReceiver

SOURCE = """
    import logging
    import lambdatrace

    log = lambdatrace.logger("payments")

    @lambdatrace.instrument
    def handler(event, context):
        logging.warning("standard %s", 1)
        with lambdatrace.span("work"):
            log.info("structured", order_id=7)
"""


def lines_of(harness: Harness, deploy: Deploy, **environment: str) -> list[str]:
    """What an invocation of SOURCE writes: the line of `logging` first, then the structured one."""
    name = deploy(SOURCE, environment=environment)
    assert invoke_frozen(harness, name).json() is None
    lines = [event.message.rstrip() for event in harness.logs("orders")]
    # The runtime's formatter and standard output are two ways to the log, of no common order.
    return [line for name in ("standard", "structured") for line in lines if name in line]


def ids(span: Any) -> tuple[str, str, str]:
    return span.trace_id.hex(), span.span_id.hex(), "01"


def ids_in(line: dict[str, Any]) -> tuple[str, str, str]:
    return line["trace_id"], line["span_id"], line["trace_flags"]


def test_the_runtimes_json_lines_and_ours_have_the_ids_of_the_spans_that_arrive(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    lines = lines_of(harness, deploy, AWS_LAMBDA_LOG_FORMAT="JSON")
    standard, structured = map(json.loads, lines)
    root, work = receiver.one("orders"), receiver.one("work")
    assert ids_in(standard) == ids(root)
    assert ids_in(structured) == ids(work)
    assert standard["message"] == "standard 1"
    assert standard["requestId"] == structured["function_request_id"]
    assert (structured["service"], structured["order_id"]) == ("payments", 7)


def test_the_runtimes_text_lines_are_as_they_were(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    standard, structured = lines_of(harness, deploy)
    level, time, request_id, message = standard.split("\t")
    assert (level, message, len(time)) == ("[WARNING]", "standard 1", 24)
    assert json.loads(structured)["function_request_id"] == request_id


def test_records_arrive_by_otlp_in_their_spans_and_none_is_lost_to_the_freeze(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    lines_of(harness, deploy, OTEL_LOGS_EXPORTER="otlp", AWS_LAMBDA_LOG_FORMAT="JSON")
    standard, structured = receiver.log_records
    assert [standard.body.string_value, structured.body.string_value] == [
        "standard 1",
        "structured",
    ]
    assert [standard.severity_text, structured.severity_text] == ["WARNING", "INFO"]
    assert ids(standard) == ids(receiver.one("orders"))
    assert ids(structured) == ids(receiver.one("work"))
    assert attributes(structured)["order_id"] == 7


def test_what_was_logged_before_a_timeout_arrives(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    source = """
    import logging, time
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        if not event:
            return
        try:
            int("no stock")
        except ValueError:
            logging.exception("failed")
        time.sleep(60)
    """
    deploy(source, environment={"OTEL_LOGS_EXPORTER": "otlp"}, timeout_s=1)
    assert harness.invoke("orders", {"sleep": True}).function_error == "Unhandled"
    if not receiver.log_records:  # on a machine too busy to send before the end, the next does
        assert harness.invoke("orders", {}).function_error == ""
        harness.wait_frozen("orders")
    (record,) = receiver.log_records
    assert record.body.string_value == "failed"
    assert attributes(record)["exception.stacktrace"].startswith("Traceback (most recent call")
    assert ids(record) == ids(receiver.one("orders"))


def test_what_a_function_logged_before_its_process_ended_arrives_once(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    source = """
    import logging, os
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        if not event:
            return
        logging.warning("sent %s", 1)
        lambdatrace.flush()
        with lambdatrace.span("work"):
            logging.warning("kept %s", {"a": [1]}, extra={"order_id": 7})
            os._exit(1)
    """
    deploy(source, environment={"OTEL_LOGS_EXPORTER": "otlp"}, timeout_s=10)
    assert harness.invoke("orders", {"exit": True}).function_error == "Unhandled"
    for _ in range(2):
        assert harness.invoke("orders", {}).function_error == ""
        harness.wait_frozen("orders")
    sent, kept = receiver.log_records
    assert [sent.body.string_value, kept.body.string_value] == ["sent 1", "kept {'a': [1]}"]
    assert attributes(kept)["order_id"] == 7
    assert ids(kept) == ids(receiver.one("work"))

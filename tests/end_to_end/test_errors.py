"""What the caller of a failing function is told: what it would be told without lambdatrace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import Function, Harness
from tests.end_to_end.conftest import attributes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import OtlpReceiver

# What stands for the decorator, so that the lines are the same with and without it.
OURS, NOTHING = "import lambdatrace; traced = lambdatrace.instrument", "traced = lambda f: f"
BODY = """

def fail(event):
    try:
        {}["no such key"]
    except KeyError as error:
        raise ValueError("not now") from error
"""
HANDLERS = {
    "def": """
@traced
def handler(event, context):
    fail(event)
""",
    "decorators": """
import functools

def logged(function):
    @functools.wraps(function)
    def around(*arguments):
        return function(*arguments)
    return around

@logged
@traced
@logged
def handler(event, context):
    fail(event)
""",
    "async def": """
import asyncio

@traced
async def work(event, context):
    await asyncio.sleep(0)
    fail(event)

def handler(event, context):
    return asyncio.run(work(event, context))
""",
    "generator": """
@traced
def items(event, context):
    yield 1
    fail(event)

def handler(event, context):
    return list(items(event, context))
""",
    "parameters": """
@traced
def handler(event):
    fail(event)
""",
    "unmarshallable": """
@traced
def handler(event, context):
    return object
""",
}


def answer(folder: Path, receiver: OtlpReceiver, source: str, **options: str) -> bytes:
    """What the caller gets, without the id of the request."""
    (folder / "app.py").write_text(source)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    if options:
        environment["LAMBDATRACE_HANDLER"] = "app.handler"
    with Harness() as harness:
        handler = options.get("handler", "app.handler")
        harness.add_function(
            Function("orders", code_dir=folder, handler=handler, environment=environment)
        )
        result = harness.invoke("orders", {})
        if "fail(1)" not in source:
            harness.wait_frozen("orders")
    request_id = json.loads(result.payload)["requestId"]
    return bytes(result.payload.replace(request_id.encode(), b""))


@pytest.mark.parametrize("kind", HANDLERS)
def test_the_answer_of_a_failing_handler_is_that_of_the_bare_one(
    kind: str, tmp_path: Path, receiver: OtlpReceiver
) -> None:
    source = BODY + HANDLERS[kind]
    bare = answer(tmp_path, receiver, NOTHING + source)
    assert answer(tmp_path, receiver, OURS + source) == bare


def test_the_answer_of_a_failing_redirected_handler_is_that_of_the_bare_one(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    source = NOTHING + BODY + HANDLERS["decorators"]
    bare = answer(tmp_path, receiver, source)
    assert answer(tmp_path, receiver, source, handler="lambdatrace.auto.handler") == bare


def test_an_answer_that_is_no_json_is_an_error_of_its_span_once(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    answer(tmp_path, receiver, OURS + BODY + HANDLERS["unmarshallable"])
    span = receiver.one("orders")
    assert (span.status.code, attributes(span)["error.type"]) == (2, "Runtime.MarshalError")
    assert [event.name for event in span.events] == ["exception"]


def test_an_import_that_fails_behind_the_decorator_is_reported_and_answered_as_without_us(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    source = f"{BODY}{HANDLERS['def']}\nfail(1)\n"
    bare = answer(tmp_path, receiver, NOTHING + source)
    assert answer(tmp_path, receiver, OURS + source) == bare
    # Lambda tries an init that failed once again, when it is asked for the first invocation.
    for name in ("init orders", "import app"):
        spans = receiver.named(name)
        assert spans
        assert len({span.trace_id for span in spans}) == len(spans), "once each"
        for span in spans:
            assert (span.status.code, span.status.message) == (2, "not now")
            assert attributes(span)["error.type"] == "ValueError"
            (event,) = span.events
            assert "in fail" in attributes(event)["exception.stacktrace"]


def test_a_failing_coroutine_that_only_we_run_has_the_functions_frames_alone(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    source = f"{OURS}{BODY}\n@traced\nasync def handler(event, context):\n    fail(event)\n"
    trace = json.loads(answer(tmp_path, receiver, source))["stackTrace"]
    assert [frame.split(", in ")[1].split()[0] for frame in trace] == ["handler", "fail"]

"""Every shape of a handler and every way it ends, on the real runtime client in the harness."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.conftest import OtlpReceiver, attributes, invoke_frozen

if TYPE_CHECKING:
    from lambdatrace.harness import Harness
    from tests.end_to_end.conftest import Deploy

UNSET, ERROR = 0, 2


# A function with a handler of each shape, which ends as its event says.
SHAPES = {
    "function": """
        @lambdatrace.instrument
        def handler(event, context):
            time.sleep(0.02)
            return end(event)
    """,
    "coroutine": """
        @lambdatrace.instrument
        async def handler(event, context):
            await asyncio.sleep(0.02)
            return end(event)
    """,
    "coroutine run by asyncio.run": """
        def run(function):
            @functools.wraps(function)
            def around(event, context):
                return asyncio.run(function(event, context))
            return around

        @run
        @lambdatrace.instrument
        async def handler(event, context):
            await asyncio.sleep(0.02)
            return end(event)
    """,
    "coroutine below another decorator": """
        def keep(function):
            @functools.wraps(function)
            def around(event, context):
                return function(event, context)
            return around

        @keep
        @lambdatrace.instrument
        async def handler(event, context):
            await asyncio.sleep(0.02)
            return end(event)
    """,
    "object with a coroutine": """
        class App:
            async def __call__(self, event, context):
                await asyncio.sleep(0.02)
                return end(event)

        handler = lambdatrace.instrument(App())
    """,
    "consumed generator": """
        @lambdatrace.instrument
        def stream(event, context):
            yield 1
            time.sleep(0.02)
            yield end(event)

        def handler(event, context):
            return list(stream(event, context))[-1]
    """,
    "consumed async generator": """
        @lambdatrace.instrument
        async def stream(event, context):
            yield 1
            await asyncio.sleep(0.02)
            yield end(event)

        async def consume(event, context):
            return [item async for item in stream(event, context)][-1]

        def handler(event, context):
            return asyncio.run(consume(event, context))
    """,
}
IMPORTS = """
import lambdatrace
import asyncio, functools, os, sys, time

def end(event):
    if event == "exit":
        sys.exit(3)
    if event == "raise":
        raise ValueError("no")
    return {"ok": True}
"""
# The event → the answer or the runtime's error, the span's status and its `error.type`.
ENDS = {
    "return": ({"ok": True}, UNSET, None),
    "raise": ("ValueError", ERROR, "ValueError"),
    "exit": ("Runtime.ExitError", ERROR, "SystemExit"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_traced_to_each_of_its_ends(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver, shape: str
) -> None:
    name = deploy(IMPORTS + textwrap.dedent(SHAPES[shape]))
    for end, (answer_or_error, status, error_type) in ENDS.items():
        receiver.spans.clear()
        result = invoke_frozen(harness, name, end)
        answer = result.json()
        assert answer.get("errorType", answer) == answer_or_error
        span = receiver.one(name)
        found = attributes(span)
        assert (span.status.code, found.get("error.type")) == (status, error_type), end
        assert found["faas.invocation_id"] == result.request_id
        assert span.end_time_unix_nano - span.start_time_unix_nano >= 20_000_000


def test_coroutines_share_one_loop_and_what_they_leave_running_goes_on(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        """
        import lambdatrace
        import asyncio, contextvars

        last = contextvars.ContextVar("last", default=None)
        loops, steps = [], []

        async def background():
            for number in range(100):
                steps.append(number)
                await asyncio.sleep(0)

        @lambdatrace.instrument
        async def handler(event, context):
            loops.append(asyncio.get_running_loop())
            if len(loops) == 1:
                event["task"] = asyncio.ensure_future(background())
                del event["task"]
            before = last.get()
            last.set(event["number"])
            await asyncio.sleep(0)
            return {"before": before, "is_one_loop": loops[0] is loops[-1], "steps": len(steps)}
        """
    )
    answers = [invoke_frozen(harness, name, {"number": number}).json() for number in range(3)]
    assert [answer["is_one_loop"] for answer in answers] == [True, True, True]
    assert [answer["before"] for answer in answers] == [None, None, None]
    assert answers[0]["steps"] < answers[1]["steps"] < answers[2]["steps"]
    assert len(receiver.named(name)) == 3


def test_a_coroutine_finds_the_loop_that_its_module_has_set(
    harness: Harness, deploy: Deploy
) -> None:
    name = deploy(
        """
        import lambdatrace
        import asyncio

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        ready = loop.create_future()
        loop.call_soon(ready.set_result, "bound to the loop")

        @lambdatrace.instrument
        async def handler(event, context):
            return await ready
        """
    )
    assert invoke_frozen(harness, name).json() == "bound to the loop"


@pytest.mark.parametrize(
    "source",
    [
        "def handler(event, context):\n    yield 1\n",
        "async def handler(event, context):\n    yield 1\n",
        "def handler(event, context):\n    return {1, 2}\n",
        "kept = [x for x in [1]]\ndef handler(event, context):\n    return (x for x in kept)\n",
    ],
)
def test_what_the_runtime_cannot_answer_with_fails_as_without_us_and_is_an_error(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver, source: str
) -> None:
    bare = deploy(source, "bare", timeout_s=30)
    decorated = source.replace("def handler", "def bare_handler")
    name = deploy(
        f"import lambdatrace\n{decorated}\nhandler = lambdatrace.instrument(bare_handler)\n",
        timeout_s=30,
    )
    for _ in range(2):
        expected, result = harness.invoke(bare, {}), invoke_frozen(harness, name)
        assert result.json()["errorType"] == "Runtime.MarshalError"
        names = ("bare_handler", "handler")
        assert result.json()["errorMessage"].replace(*names) == expected.json()["errorMessage"]
    for span in receiver.named(name):
        found = attributes(span)
        assert (span.status.code, found["error.type"]) == (ERROR, "Runtime.MarshalError")
    assert len(receiver.named(name)) == 2, "and the environment was not held until the deadline"


def test_a_coroutine_that_is_left_behind_does_not_hold_the_environment(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        """
        import lambdatrace
        import asyncio

        loop = asyncio.new_event_loop()

        @lambdatrace.instrument
        async def work(event, context):
            await asyncio.sleep(3600)

        def handler(event, context):
            task = loop.create_task(work(event, context))
            loop.run_until_complete(asyncio.sleep(0.01))
            return len(asyncio.all_tasks(loop))
        """,
        timeout_s=30,
    )
    assert [invoke_frozen(harness, name).json() for _ in range(2)] == [1, 2]
    assert attributes(receiver.one(name))["lambdatrace.incomplete"], "the first one's"


def test_a_generator_that_is_kept_does_not_hold_the_environment(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        """
        import lambdatrace
        kept = []

        @lambdatrace.instrument
        def stream(event, context):
            yield 1
            yield 2

        def handler(event, context):
            kept.append(stream(event, context))
            return next(kept[-1])
        """,
        timeout_s=30,
    )
    assert [invoke_frozen(harness, name).json() for _ in range(2)] == [1, 1]
    assert attributes(receiver.one(name))["lambdatrace.incomplete"], "the first one's"


@pytest.mark.parametrize(
    ("module", "handler"),
    [("src/api/app.py", "src/api/app.handler"), ("shop/api.py", "shop.api.handler")],
)
@pytest.mark.parametrize("is_redirected", [False, True])
def test_a_handler_may_be_in_a_folder_or_a_package(
    harness: Harness,
    deploy: Deploy,
    receiver: OtlpReceiver,
    module: str,
    handler: str,
    *,
    is_redirected: bool,
) -> None:
    decorator = "" if is_redirected else "@lambdatrace.instrument"
    source = f"""
        import lambdatrace
        {decorator}
        def handler(event, context):
            return {{"ok": True}}
    """
    if is_redirected:
        redirect = {"handler": "lambdatrace.auto.handler"}
        environment = {"LAMBDATRACE_HANDLER": handler}
        name = deploy({module: source}, environment=environment, **redirect)
    else:
        name = deploy({module: source}, handler=handler)
    assert invoke_frozen(harness, name).json() == {"ok": True}
    assert receiver.one(name).name == name
    assert receiver.one("import " + handler.rpartition(".")[0].replace("/", ".")).end_time_unix_nano


def test_a_message_that_the_answer_reports_as_failed_has_the_error(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        """
        import lambdatrace

        @lambdatrace.instrument
        def handler(event, context):
            failed = []
            for message in lambdatrace.messages(event):
                if message["body"] == "bad":
                    failed.append({"itemIdentifier": message["messageId"]})
            return {"batchItemFailures": failed}
        """
    )
    queue = {"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:1:queue"}
    bodies = {"m1": "good", "m2": "bad"}
    records = [{**queue, "messageId": number, "body": body} for number, body in bodies.items()]
    answer = invoke_frozen(harness, name, {"Records": records}).json()
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}]}
    found = [(attributes(span), span.status.code) for span in receiver.spans]
    messages = {a["messaging.message.id"]: s for a, s in found if "messaging.message.id" in a}
    assert messages == {"m1": UNSET, "m2": ERROR}
    assert attributes(receiver.one(name))["aws.lambda.batch_item_failures"] == 1

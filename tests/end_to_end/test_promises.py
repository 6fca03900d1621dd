"""The four promises, on the real runtime client in the harness."""

from __future__ import annotations

import textwrap
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from lambdatrace.layer import build_layer
from tests.end_to_end.conftest import WAIT_S, OtlpReceiver, attributes, invoke_frozen

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.harness import Harness
    from tests.end_to_end.conftest import Deploy

ERROR = 2


TRACED = """
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        with lambdatrace.span("work"):
            lambdatrace.metric("Worked", 1, unit="Count")
        return {"ok": True}
"""

HEAVY = [
    *("asyncio", "dataclasses", "email", "http.client", "inspect", "pathlib", "socket", "ssl"),
    *("typing", "urllib.request", "uuid", "opentelemetry", "google", "wrapt", "botocore"),
]


def test_it_costs_nothing_to_start(harness: Harness, deploy: Deploy) -> None:
    source = f"""
    import sys
    heavy = set({HEAVY!r})
    before = heavy & set(sys.modules)
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        with lambdatrace.span("work"):
            return sorted((heavy & set(sys.modules)) - before)
    """
    assert invoke_frozen(harness, deploy(source)).json() == []
    assert harness.invoke("orders", {}).json() == [], "nor after the first response was sent"


def test_it_never_delays_the_response(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(TRACED)
    receiver.gate.clear()
    for _ in range(2):
        # The caller has its answer although nobody has answered the function's send yet.
        assert harness.invoke(name, {}).json() == {"ok": True}
        assert receiver.arrived.acquire(timeout=WAIT_S)
        (environment,) = harness.environments(name)
        assert environment.phase == "invoke", "and Lambda waits for what is sent"
        receiver.gate.set()
        harness.wait_frozen(name)
        receiver.gate.clear()
    assert [len(receiver.named(span)) for span in (name, "work")] == [2, 2]


def test_it_loses_nothing_to_the_freeze(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(TRACED)
    count = 30
    for number in range(1, count + 1):
        invoke_frozen(harness, name)
        assert len(receiver.named(name)) == number, "frozen means that its records are out"
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)
    metrics = [event for event in harness.logs(name) if '"Worked":1.0' in event.message]
    assert len(metrics) == count
    assert len(harness.environments(name)) == 1


def test_an_endpoint_that_is_down_costs_the_function_nothing_and_gets_all_of_it_later(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(TRACED)
    receiver.status = 503
    for _ in range(3):
        assert invoke_frozen(harness, name).json() == {"ok": True}
    receiver.status = 200
    deadline = time.monotonic() + WAIT_S
    invocations = 3
    while len(receiver.named(name)) < invocations and time.monotonic() < deadline:
        time.sleep(0.3)  # it is left alone for a while after a failure
        invoke_frozen(harness, name)
        invocations += 1
    assert len(receiver.named(name)) == invocations


def test_the_resource_and_the_invocation_have_opentelemetrys_attributes(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        TRACED,
        memory_size_mb=256,
        environment={"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"},
    )
    result = invoke_frozen(harness, name)
    (stream,) = {event.log_stream for event in harness.logs(name)}
    (resource,) = receiver.resources
    assert {k: v for k, v in resource.items() if not k.startswith("aws.log")} == {
        "service.name": "orders",
        "cloud.provider": "aws",
        "cloud.platform": "aws_lambda",
        "cloud.region": "us-east-1",
        "faas.name": "orders",
        "faas.version": "$LATEST",
        "faas.instance": stream,
        "faas.max_memory": 256 * 1024 * 1024,
        "telemetry.sdk.name": "lambdatrace",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "0.1.0",
        "deployment.environment.name": "test",
    }
    arn = "arn:aws:lambda:us-east-1:123456789012:function:orders"
    assert attributes(receiver.one(name)) == {
        "faas.coldstart": True,
        "faas.invocation_id": result.request_id,
        "aws.lambda.invoked_arn": arn,
        "cloud.account.id": "123456789012",
        "cloud.resource_id": arn,
    }


def test_a_timeout_leaves_the_open_spans_and_the_metrics(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        """
        import time
        import lambdatrace

        @lambdatrace.instrument
        def handler(event, context):
            lambdatrace.metric("Begun", 1, unit="Count")
            with lambdatrace.span("done"):
                pass
            with lambdatrace.span("stuck"):
                time.sleep(60)
        """,
        timeout_s=1,
    )
    result = invoke_frozen(harness, name)
    assert result.json()["errorType"] == "Sandbox.Timedout"
    for span in (receiver.one("stuck"), receiver.one(name)):
        assert (span.status.code, span.status.message) == (
            ERROR,
            "the invocation was about to time out",
        )
        assert attributes(span)["error.type"] == "Sandbox.Timedout"
    assert attributes(receiver.one(name))["faas.invocation_id"] == result.request_id
    assert receiver.one("done").status.code == 0
    assert [e for e in harness.logs(name) if '"Begun":1.0' in e.message] != []


@pytest.mark.parametrize(
    ("statement", "error_type", "runtime_error_type"),
    [
        ("raise ValueError('no')", "ValueError", "ValueError"),
        ("raise SystemExit(3)", "SystemExit", "Runtime.ExitError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "Runtime.ExitError"),
    ],
)
def test_what_the_handler_raises_is_sent_and_ends_the_invocation_as_without_us(
    harness: Harness,
    deploy: Deploy,
    receiver: OtlpReceiver,
    statement: str,
    error_type: str,
    runtime_error_type: str,
) -> None:
    source = f"""
        {{imports}}
        def handler(event, context):
            {statement}
    """
    bare = deploy(source.format(imports=""), "bare")
    name = deploy(source.format(imports="import lambdatrace\n        @lambdatrace.instrument"))
    expected, result = invoke_frozen(harness, bare), invoke_frozen(harness, name)
    assert result.function_error == "Unhandled"
    assert result.json()["errorType"] == expected.json()["errorType"] == runtime_error_type
    assert result.json()["errorMessage"].replace(result.request_id, "") == expected.json()[
        "errorMessage"
    ].replace(expected.request_id, "")
    span = receiver.one(name)
    assert (span.status.code, attributes(span)["error.type"]) == (ERROR, error_type)


def test_a_function_that_calls_another_is_one_trace(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    deploy(
        """
        import lambdatrace

        @lambdatrace.instrument
        def handler(event, context):
            return lambdatrace.current_span().trace_id
        """,
        "callee",
    )
    deploy(
        """
        import lambdatrace
        import base64, json
        import boto3

        client = boto3.client("lambda")

        @lambdatrace.instrument
        def handler(event, context):
            with lambdatrace.span("call", kind="client") as span:
                context = base64.b64encode(json.dumps({"w3c": span.inject()}).encode()).decode()
                answer = client.invoke(FunctionName="callee", ClientContext=context)
                return [span.trace_id, json.load(answer["Payload"])]
        """,
        "caller",
        timeout_s=20,
    )
    own, other = invoke_frozen(harness, "caller").json()
    harness.wait_frozen("callee")
    assert own == other
    assert receiver.one("callee").parent_span_id == receiver.one("call").span_id
    assert receiver.one("call").parent_span_id == receiver.one("caller").span_id
    assert receiver.one("init caller").parent_span_id == receiver.one("caller").span_id


def test_a_sampled_x_ray_header_is_continued(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    name = deploy(TRACED)
    harness.invoke(name, {}, trace_header=header)
    harness.wait_frozen(name)
    span = receiver.one(name)
    assert span.trace_id.hex() == "5759e988bd862e3fe1be46a994272793"
    assert span.parent_span_id.hex() == "53995c3f42cd8ad8"


PLAIN = """
    from time import sleep
    sleep(0.05)

    def handler(event, context):
        return {"ok": True}
"""


def check_traced_without_code(receiver: OtlpReceiver, name: str) -> None:
    init, imported = receiver.one(f"init {name}"), receiver.one("import app")
    assert receiver.one(name).span_id == init.parent_span_id
    assert imported.parent_span_id == init.span_id
    assert init.start_time_unix_nano < imported.start_time_unix_nano
    assert imported.end_time_unix_nano - imported.start_time_unix_nano >= 50_000_000
    assert init.end_time_unix_nano == imported.end_time_unix_nano


def test_a_handler_redirect_traces_a_function_without_touching_its_code(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        PLAIN,
        handler="lambdatrace.auto.handler",
        environment={"LAMBDATRACE_HANDLER": "app.handler"},
    )
    assert invoke_frozen(harness, name).json() == {"ok": True}
    check_traced_without_code(receiver, name)


@pytest.mark.parametrize("target", ["app.nowhere", "nowhere.handler"])
def test_a_redirect_to_what_is_not_there_fails_as_it_would_without_us(
    harness: Harness, deploy: Deploy, target: str
) -> None:
    bare = deploy(PLAIN, "bare", handler=target)
    name = deploy(
        PLAIN,
        handler="lambdatrace.auto.handler",
        environment={"LAMBDATRACE_HANDLER": target},
    )
    expected, found = (harness.invoke(function, {}).json() for function in (bare, name))
    assert found["errorType"] == expected["errorType"]
    assert found["errorMessage"] == expected["errorMessage"]


def test_the_layers_exec_wrapper_traces_a_function_without_touching_its_code(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    build_layer(tmp_path / "layer.zip")
    with zipfile.ZipFile(tmp_path / "layer.zip") as archive:
        archive.extractall(tmp_path / "opt")
    (tmp_path / "opt" / "lambdatrace").chmod(0o755)
    name = deploy(
        PLAIN,
        layers=[tmp_path / "opt"],
        environment={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/lambdatrace"},
    )
    assert invoke_frozen(harness, name).json() == {"ok": True}
    check_traced_without_code(receiver, name)


# A runtime client that cannot be had to tell when it asks for the next event.
SILENT_CLIENT = textwrap.dedent("""
    import functools
    from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient as Client

    ask = Client.wait_next_invocation
    Client.wait_next_invocation = property(lambda client: functools.partial(ask, client))
""")


def test_under_a_client_that_tells_nothing_an_extension_sends_after_the_response(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(SILENT_CLIENT + textwrap.dedent(TRACED))
    receiver.gate.clear()
    assert harness.invoke(name, {}).json() == {"ok": True}
    assert receiver.arrived.acquire(timeout=WAIT_S)
    (environment,) = harness.environments(name)
    assert environment.phase == "invoke", "and Lambda waits for the extension"
    receiver.gate.set()
    harness.wait_frozen(name)
    assert [len(receiver.named(span)) for span in (name, "work")] == [1, 1]
    assert any(e.message.startswith("EXTENSION") for e in harness.logs(name))


def test_without_an_extensions_api_spans_are_sent_before_the_response(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    # Another extension has taken the name: ours is refused.
    name = deploy(
        SILENT_CLIENT
        + textwrap.dedent("""
        import json, os, urllib.request
        api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2020-01-01/extension"

        def call(path, headers, body=None):
            request = urllib.request.Request(api + path, body, headers)
            return urllib.request.urlopen(request)

        registered = call(
            "/register", {"Lambda-Extension-Name": "lambdatrace"}, b'{"events": []}'
        )
        identifier = registered.headers["Lambda-Extension-Identifier"]
        import threading
        poll = lambda: call("/event/next", {"Lambda-Extension-Identifier": identifier})
        threading.Thread(target=poll, daemon=True).start()

        import lambdatrace

        @lambdatrace.instrument
        def handler(event, context):
            return {"ok": True}
        """)
    )
    assert harness.invoke(name, {}).json() == {"ok": True}
    assert len(receiver.named(name)) == 1, "before the response"
    (warning,) = [e.message for e in harness.logs(name) if "[lambdatrace]" in e.message]
    assert "the internal extension cannot register" in warning


def test_where_the_hook_in_the_runtime_client_is_taken_away_spans_are_sent_before_the_response(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        """
        import lambdatrace
        from awslambdaric.lambda_runtime_client import LambdaRuntimeClient as Client

        @lambdatrace.instrument
        def handler(event, context):
            if event:
                Client.wait_next_invocation = Client.wait_next_invocation.__wrapped__
            return {"ok": True}
        """
    )
    for event in ({}, {"take it": True}, {}, {}):
        assert invoke_frozen(harness, name, event).json() == {"ok": True}
    assert len(receiver.named(name)) == 4
    (warning,) = [e.message for e in harness.logs(name) if "[lambdatrace]" in e.message]
    assert "does not tell any more" in warning


def test_a_warm_function_without_a_file_descriptor_left_may_use_any_name_for_the_first_time(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    source = """
    import resource
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        if not event:
            return
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with lambdatrace.span("work", attributes={"tables": ["a", "b"], "odd": [{}]}):
                lambdatrace.metric("Worked", 1, unit="Count")
                lambdatrace.current_span().set_attribute("a", 1)
            return [*lambdatrace.messages({})]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    """
    name = deploy(source)
    invoke_frozen(harness, name)
    assert invoke_frozen(harness, name, {"first": "use"}).json() == []
    assert attributes(receiver.one("work"))["a"] == 1

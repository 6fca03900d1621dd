"""The segments Lambda makes, from real functions to a daemon's socket."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import (
    EventInvokeConfig,
    Harness,
    HarnessSettingsError,
    InvokeError,
    VirtualClock,
)
from lambdatrace.harness.x_ray import Daemon, Trace, begin, daemon_address, error_cause, resolve

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator

    Run = Callable[..., contextlib.AbstractContextManager[Harness]]

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:app"
SOURCE = """
import os

def handler(event, context):
    if event == "fail":
        raise ValueError("no stock")
    return os.environ["_X_AMZN_TRACE_ID"]
"""


class Received:
    """An X-Ray daemon: the documents it was sent, oldest first."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def next(self) -> dict[str, Any]:
        header, _, document = self.socket.recv(65_536).partition(b"\n")
        assert json.loads(header) == {"format": "json", "version": 1}
        found: dict[str, Any] = json.loads(document)
        return found

    def is_empty(self) -> bool:
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(1)
        except BlockingIOError:
            return True


@pytest.fixture
def daemon() -> Iterator[Received]:
    received = Received()
    with received.socket:
        yield received


def times(document: dict[str, Any]) -> tuple[float, float]:
    return document.pop("start_time"), document.pop("end_time")


def test_a_sampled_invoke_has_a_segment_of_the_service_and_one_of_the_function(
    run: Run, daemon: Received
) -> None:
    with run(SOURCE, tracing="Active", x_ray_daemon=daemon.address) as harness:
        header = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a:0"
        result = harness.invoke("app", trace_header=header)
        harness.wait_frozen("app")
        report = harness.logs("app")[-1].message
    service, function = daemon.next(), daemon.next()
    segment_id, function_id = service.pop("id"), function.pop("id")
    in_function = f"Root={ROOT};Parent={function_id};Sampled=1;Lineage="
    assert result.json() == result.trace_header
    assert result.trace_header.startswith(in_function)
    assert report.endswith(f"\t\nXRAY TraceId: {ROOT}\tSegmentId: {function_id}\tSampled: true\t\n")
    received_s, responded_s = times(service)
    assert service == {
        "name": "app",
        "trace_id": ROOT,
        "parent_id": "53995c3f42cd8ad8",
        "origin": "AWS::Lambda",
        "resource_arn": ARN,
        "http": {"response": {"status": 200}},
        "aws": {"request_id": result.request_id},
    }
    (init,) = function.pop("subsegments")
    annotations = function.pop("annotations")
    started_s, ended_s = times(function)
    assert function == {
        "name": "app",
        "trace_id": ROOT,
        "parent_id": segment_id,
        "origin": "AWS::Lambda::Function",
        "resource_arn": ARN,
        "aws": {
            "account_id": "123456789012",
            "function_arn": ARN,
            "request_id": result.request_id,
            "resource_names": ["app"],
        },
    }
    assert (init["name"], init["aws"]) == ("Init", {"function_arn": ARN})
    assert received_s <= init["start_time"] < init["end_time"] <= started_s <= responded_s
    assert started_s + annotations["aws.responseLatency"] / 1000 <= ended_s
    assert annotations.keys() == {
        "aws.responseLatency",
        "aws.responseDuration",
        "aws.runtimeOverhead",
    }


def test_without_a_caller_the_services_segment_is_the_root_and_a_warm_one_has_no_init(
    run: Run, daemon: Received
) -> None:
    with run(SOURCE, tracing="Active", x_ray_daemon=daemon.address) as harness:
        harness.invoke("app", trace_header=f"Root={ROOT};Sampled=0")
        harness.invoke("app", trace_header=f"Root={ROOT};Sampled=1")
        harness.wait_frozen("app")
    assert "parent_id" not in daemon.next()
    assert "subsegments" not in daemon.next()


def test_what_is_passed_through_or_not_sampled_has_no_segments(run: Run, daemon: Received) -> None:
    sampled = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"
    with run(SOURCE, x_ray_daemon=daemon.address) as harness:
        assert harness.invoke("app", trace_header=sampled).json().startswith(sampled)
    with run(SOURCE, tracing="Active", x_ray_daemon=daemon.address) as harness:
        harness.invoke("app", trace_header=f"Root={ROOT};Sampled=0")
        harness.wait_frozen("app")
        assert "XRAY" not in harness.logs("app")[-1].message
    assert daemon.is_empty()


def test_an_error_is_a_fault_of_the_functions_segment_alone_with_its_stack(
    run: Run, daemon: Received
) -> None:
    with run(SOURCE, tracing="Active", x_ray_daemon=daemon.address) as harness:
        harness.invoke("app", "fail", trace_header=f"Root={ROOT};Sampled=1")
        harness.wait_frozen("app")
    service, function = daemon.next(), daemon.next()
    assert "fault" not in service
    assert function["fault"] is True
    (exception,) = function["cause"]["exceptions"]
    assert len(exception.pop("id")) == 16
    (frame,) = exception.pop("stack")
    assert exception == {"message": "no stock", "type": "ValueError"}
    assert (frame["label"], frame["line"]) == ("handler", 6)


def test_each_attempt_at_an_event_is_in_one_trace(run: Run, daemon: Received) -> None:
    with run(
        SOURCE,
        tracing="Active",
        x_ray_daemon=daemon.address,
        event_invoke_config=EventInvokeConfig(maximum_retry_attempts=1),
        clock=VirtualClock(),
    ) as harness:
        header = f"Root={ROOT};Sampled=1"
        harness.invoke("app", "fail", invocation_type="Event", trace_header=header)
        harness.advance(60)
    service, first, second_attempt, second = (daemon.next() for _ in range(4))
    waited, first_attempt = service["subsegments"]
    assert service["http"]["response"]["status"] == 202
    assert (waited["name"], first_attempt["name"]) == ("Dwell Time", "Attempt #1")
    assert (second_attempt["name"], second_attempt["type"]) == ("Attempt #2", "subsegment")
    assert second_attempt["parent_id"] == service["id"]
    assert [first["parent_id"], second["parent_id"]] == [
        first_attempt["id"],
        second_attempt["id"],
    ]
    assert first["id"] != second["id"]
    assert {d["trace_id"] for d in (service, first, second_attempt, second)} == {ROOT}


def test_a_throttled_invoke_has_the_services_segment_alone(run: Run, daemon: Received) -> None:
    source = "import time\ndef handler(event, context): time.sleep(30)"
    with run(
        source, tracing="Active", x_ray_daemon=daemon.address, concurrency_max=1, timeout_s=30
    ) as harness:
        harness.invoke("app", invocation_type="Event", trace_header=f"Root={ROOT};Sampled=0")
        while not harness.environments("app"):
            time.sleep(0.01)
        with pytest.raises(InvokeError):
            harness.invoke("app", trace_header=f"Root={ROOT};Sampled=1")
    segment = daemon.next()
    assert (segment["origin"], segment["throttle"], segment["error"], segment["http"]) == (
        "AWS::Lambda",
        True,
        True,
        {"response": {"status": 429}},
    )


def test_a_trace_keeps_the_rest_of_the_header() -> None:
    trace = begin(f"root={ROOT}; parent=ab", f"root={ROOT}; parent=ab;Sampled=1; Lineage=1:a:0", 1)
    assert trace
    assert (trace.trace_id, trace.parent_id) == (ROOT, "ab")
    wanted = f"Root={ROOT};Parent={trace.function_segment_id};Sampled=1;Lineage=1:a:0"
    assert trace.header == wanted
    assert begin("", f"Root={ROOT};Parent=ab;Sampled=0", 1) is None


def test_an_error_without_the_clients_cause_has_what_its_payload_says() -> None:
    cause = error_cause("not JSON", b'{"errorType":"Sandbox.Timedout","errorMessage":"late"}')
    (exception,) = cause["exceptions"]
    assert (exception["type"], exception["message"]) == ("Sandbox.Timedout", "late")


def test_a_document_too_long_for_a_datagram_goes_without_its_cause(daemon: Received) -> None:
    sender = Daemon(daemon_address(daemon.address))
    sender.send([{"name": "app", "cause": "x" * 70_000}])
    assert daemon.next() == {"name": "app"}
    sender.close()
    sender.send([{"name": "app"}])
    assert sender.refused_documents == 1


def test_a_daemons_address_is_read_as_the_x_ray_sdk_reads_it() -> None:
    assert daemon_address("tcp:10.0.0.1:2001 udp:10.0.0.2:2000") == ("10.0.0.2", 2000)
    assert daemon_address("127.0.0.1:2000") == ("127.0.0.1", 2000)
    with pytest.raises(HarnessSettingsError) as caught:
        daemon_address("localhost")
    assert str(caught.value) == ("X-Ray daemon 'localhost': expected an address, as 127.0.0.1:2000")


def test_an_attempts_function_segment_is_its_own() -> None:
    trace = Trace(ROOT, "", "a" * 16, "b" * 16, 1.0)
    attempts = [trace.next_attempt(1), trace.next_attempt(2)]
    assert [a.attempt for a in attempts] == [1, 2]
    assert len({a.function_segment_id for a in attempts} | {a.attempt_id for a in attempts}) == 4


def test_a_daemons_name_is_asked_for_once_and_one_that_is_not_known_is_refused() -> None:
    assert resolve("localhost:2000") == ("127.0.0.1", 2000)
    assert resolve("tcp:a:1 udp:127.0.0.2:2001") == ("127.0.0.2", 2001)
    harness = Harness(x_ray_daemon="a..b:2000")
    with pytest.raises(HarnessSettingsError, match=r"X-Ray daemon 'a\.\.b:2000': "):
        harness.start()

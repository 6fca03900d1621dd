"""Deliveries to destinations: several at a time, none waiting for another destination's."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness.destination_delivery import CALLS_EACH_MAX, DestinationDelivery
from lambdatrace.harness.destinations import AwsCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.harness.errors import DeliveryError

WAIT_S = 30.0


class Bucket(ThreadingHTTPServer):
    """Takes objects; those for `slow…` when `let_go` is set, those for `down…` never."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.let_go = threading.Event()
        self.lock = threading.Lock()
        self.at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Bucket
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        name, server = self.path.split("/")[1], self.server
        with server.lock:
            server.requests[name] += 1
            server.at_once[name] += 1
            server.most_at_once[name] = max(server.most_at_once[name], server.at_once[name])
        if name.startswith("slow"):
            server.let_go.wait(WAIT_S)
        with server.lock:
            server.at_once[name] -= 1
        self.send_response(503 if name.startswith("down") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class Settled:
    """What became of the calls, by bucket."""

    def __init__(self) -> None:
        self.errors: dict[str, list[DeliveryError | None]] = {}
        self._changed = threading.Condition()

    def take(self, bucket: str, error: DeliveryError | None) -> None:
        with self._changed:
            self.errors.setdefault(bucket, []).append(error)
            self._changed.notify_all()

    def wait(self, bucket: str, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: len(self.errors.get(bucket, ())) >= count, WAIT_S
            ), self.errors


@contextmanager
def serving() -> Iterator[Bucket]:
    server = Bucket()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


def send(delivery: DestinationDelivery, settled: Settled, bucket: str, number: int) -> None:
    parameters = {"Bucket": bucket, "Key": f"{number}", "Body": b"{}"}
    call = AwsCall(f"arn:aws:s3:::{bucket}", "s3", "", "put_object", parameters)
    delivery.send(call, lambda error: settled.take(bucket, error))


def test_slow_destinations_hold_up_themselves_alone_and_have_few_calls_at_a_time() -> None:
    settled = Settled()
    with serving() as server:
        delivery = DestinationDelivery(server.url, lambda: "")
        slow = [f"slow{number}" for number in range(7)]
        for bucket in slow:
            for number in range(5):
                send(delivery, settled, bucket, number)
        for number in range(20):
            send(delivery, settled, "quick", number)
        settled.wait("quick", 20)
        assert list(settled.errors) == ["quick"], "while the others hang"
        server.let_go.set()
        for bucket in slow:
            settled.wait(bucket, 5)
        delivery.stop()
    assert settled.errors == {bucket: [None] * 5 for bucket in slow} | {"quick": [None] * 20}
    assert server.requests == Counter(dict.fromkeys(slow, 5) | {"quick": 20})
    assert max(server.most_at_once.values()) <= CALLS_EACH_MAX


def test_every_call_to_an_endpoint_that_cannot_be_called_is_settled_with_the_reason() -> None:
    settled = Settled()
    delivery = DestinationDelivery("http://my_host:5000", lambda: "")
    for number in range(20):
        send(delivery, settled, "bucket", number)
    settled.wait("bucket", 20)
    delivery.stop()
    assert {str(error) for error in settled.errors["bucket"]} == {
        "s3 put_object failed: Invalid endpoint: http://my_host:5000"
    }


@pytest.mark.parametrize(("delivery_s", "attempts"), [(0.0, 1), (60.0, 5)])
def test_a_destination_that_is_down_is_tried_five_times_at_most_until_the_deadline(
    delivery_s: float, attempts: int
) -> None:
    settled = Settled()
    with serving() as server:
        delivery = DestinationDelivery(server.url, lambda: "", delivery_s)
        send(delivery, settled, "down", 1)
        settled.wait("down", 1)
        delivery.stop()
    [error] = settled.errors["down"]
    assert error is not None
    assert "503" in str(error)
    assert server.requests["down"] == attempts


def test_a_stop_waits_for_the_calls_that_are_made_and_drops_the_others() -> None:
    settled = Settled()
    with serving() as server:
        delivery = DestinationDelivery(server.url, lambda: "")
        for number in range(5):
            send(delivery, settled, "slow", number)
        deadline = time.monotonic() + WAIT_S
        while server.requests["slow"] < CALLS_EACH_MAX and time.monotonic() < deadline:
            time.sleep(0.01)
        threading.Timer(0.1, server.let_go.set).start()
        delivery.stop()
        assert settled.errors == {"slow": [None] * CALLS_EACH_MAX}
        assert server.requests["slow"] == CALLS_EACH_MAX

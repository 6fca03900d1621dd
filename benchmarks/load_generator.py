"""Load on a collector from several client processes over keep-alive connections.

Each process has one thread and raw sockets: requests are encoded whole before the clock starts, so
that on a machine shared with the collector the client costs as little as it can; what it does cost
is in the report. A request counts once it was answered with 200. One that was refused with 429 or
503 is sent again, the same bytes, after its Retry-After.

    report = run(url, partial(span_requests, spans=500), clients=2, connections=8, requests=2000)

`make(client, count)` runs in the client's process and gives its requests; it must be a module's
function (or a `functools.partial` of one), since processes are spawned. What it gives may be an
iterator without end: `Load.stop` then ends the load, once what was begun is acknowledged.
"""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier, Event

ENCODE_DEADLINE_S = 300
RUN_DEADLINE_S = 3600
ANSWER_DEADLINE_S = 120  # a connection that hears nothing for so long fails the benchmark
RECONNECT_S = 0.05
RECEIVE_BYTES = 65536
OK, TOO_MANY, UNAVAILABLE = 200, 429, 503


class Request(NamedTuple):
    """A whole HTTP request as it goes over the wire, and how many records it carries."""

    wire: bytes
    records: int


Make = Callable[[int, int], Iterable[Request]]


def http_request(
    path: str, body: bytes, headers: Mapping[str, str], records: int, method: str = "POST"
) -> Request:
    """A request ready to send."""
    lines = [f"{method} {path} HTTP/1.1", "Host: collector", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return Request("\r\n".join((*lines, "", "")).encode("latin-1") + body, records)


@dataclass
class Report:
    """What the clients saw."""

    seconds: float = 0.0
    requests: int = 0  # answered with 200
    records: int = 0
    latencies_s: list[float] = field(default_factory=list)  # sorted; first try to 200
    refused: Counter[int] = field(default_factory=Counter)  # answers by status, 200 apart
    lost_connections: int = 0
    client_cpu_s: float = 0.0  # of all client processes, while the clock ran

    @property
    def records_per_s(self) -> float:
        """Acknowledged records per second."""
        return self.records / self.seconds

    def latency_ms(self, quantile: float) -> float:
        """The latency that `quantile` of the acknowledged requests stayed within."""
        last = len(self.latencies_s) - 1
        return self.latencies_s[min(int(len(self.latencies_s) * quantile), last)] * 1000

    def shown(self) -> dict[str, Any]:
        """The figures to print."""
        return {
            "acknowledged_requests": self.requests,
            "acknowledged_records": self.records,
            "seconds": round(self.seconds, 2),
            "records_per_s": round(self.records_per_s),
            "latency_p50_ms": round(self.latency_ms(0.5), 1),
            "latency_p99_ms": round(self.latency_ms(0.99), 1),
            "refused": {str(status): count for status, count in self.refused.items()},
            "lost_connections": self.lost_connections,
            "client_cores": round(self.client_cpu_s / self.seconds, 2),
        }


@dataclass(frozen=True)
class Plan:
    """How one client process sends."""

    url: str
    connections: int
    count: int  # requests to make
    seconds: float | None  # None: until each request was acknowledged; else they repeat until then
    rate_per_s: float | None  # requests begun per second; None: as fast as they are answered
    survives_restarts: bool  # a lost connection is opened again, and its request sent again


class Load:
    """Client processes that are ready to send; `start` lets them, `wait` gives the report."""

    def __init__(
        self,
        url: str,
        make: Make,
        *,
        clients: int = 2,
        connections: int = 8,
        requests: int = 1000,
        seconds: float | None = None,
        rate_per_s: float | None = None,
        survives_restarts: bool = False,
    ) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._barrier = self._context.Barrier(clients + 1)
        self._stop = self._context.Event()
        self._answers: Queue[Any] = self._context.Queue()
        plan = Plan(
            url,
            connections,
            requests // clients,
            seconds,
            None if rate_per_s is None else rate_per_s / clients,
            survives_restarts,
        )
        self._processes = [
            self._context.Process(
                target=_client,
                args=(place, plan, make, self._barrier, self._stop, self._answers),
                daemon=True,
            )
            for place in range(clients)
        ]
        self._started = 0.0
        for process in self._processes:
            process.start()

    def start(self) -> None:
        """Return once every client has encoded its requests; they are sending from now on."""
        self._barrier.wait(ENCODE_DEADLINE_S)
        self._started = time.perf_counter()

    @property
    def is_running(self) -> bool:
        """True until the last client has ended."""
        return any(process.is_alive() for process in self._processes)

    def stop(self) -> None:
        """Begin no more requests; those that were begun go on until they are acknowledged."""
        self._stop.set()

    def wait(self) -> Report:
        """The clients' reports as one. Raises RuntimeError when a client failed."""
        total = Report()
        for _ in self._processes:
            answer = self._answers.get(timeout=RUN_DEADLINE_S)
            if isinstance(answer, str):
                raise RuntimeError(answer)  # noqa: TRY004 - a client's failure, told as text
            total.requests += answer.requests
            total.records += answer.records
            total.latencies_s += answer.latencies_s
            total.refused += answer.refused
            total.lost_connections += answer.lost_connections
            total.client_cpu_s += answer.client_cpu_s
        total.seconds = time.perf_counter() - self._started
        total.latencies_s.sort()
        for process in self._processes:
            process.join()
        return total


def run(url: str, make: Make, **options: Any) -> Report:
    """Send as `Load` is told to, and give the report."""
    load = Load(url, make, **options)
    load.start()
    return load.wait()


def _client(
    place: int,
    plan: Plan,
    make: Make,
    barrier: Barrier,
    stop: Event,
    answers: Queue[Report | str],
) -> None:
    try:
        sender = _Sender(plan, make(place, plan.count), stop)
        barrier.wait(ENCODE_DEADLINE_S)
        answers.put(sender.send_all())
    except Exception as error:  # noqa: BLE001 - the border of the process: the parent tells it
        barrier.abort()
        answers.put(f"client {place}: {error!r}")


class _Connection:
    """A socket and the one request that it carries."""

    __slots__ = ("began", "heard", "received", "request", "sent", "socket")

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.request: Request | None = None
        self.began = 0.0
        self.heard = 0.0
        self.sent = 0
        self.received = bytearray()


class _Sender:
    """One client: an event loop over its connections."""

    def __init__(self, plan: Plan, requests: Iterable[Request], stop: Event) -> None:
        self._plan = plan
        self._stop = stop
        self._requests = iter(requests) if plan.seconds is None else itertools.cycle(requests)
        self._is_exhausted = False
        self._begun = 0
        self._report = Report()
        self._selector = selectors.DefaultSelector()
        self._idle = [_Connection() for _ in range(plan.connections)]
        self._busy = 0
        # Whose request comes again: (when, order, connection).
        self._later: list[tuple[float, int, _Connection]] = []
        self._order = 0
        host, port = plan.url.removeprefix("http://").rsplit(":", 1)
        self._address = (host, int(port))

    def send_all(self) -> Report:
        """Send until the plan is fulfilled."""
        started = time.perf_counter()
        cpu_started = time.process_time()
        while self._begin_requests(started):
            self._wait()
        self._report.client_cpu_s = time.process_time() - cpu_started
        self._selector.close()
        return self._report

    def _begin_requests(self, started: float) -> bool:
        """Give idle connections their requests; False when all is done."""
        now = time.perf_counter()
        while self._later and self._later[0][0] <= now:
            self._send(heapq.heappop(self._later)[2])
        while self._idle:
            due = self._due(started)
            if due > now:
                break
            request = self._take(now - started)
            if request is None:
                break
            connection = self._idle.pop()
            connection.request = request
            connection.began = now if self._plan.rate_per_s is None else due
            self._busy += 1
            self._send(connection)
        is_over = self._plan.seconds is not None and now - started >= self._plan.seconds
        return self._busy > 0 or not (is_over or self._is_exhausted)

    def _due(self, started: float) -> float:
        if self._plan.rate_per_s is None:
            return started
        return started + self._begun / self._plan.rate_per_s

    def _take(self, elapsed_s: float) -> Request | None:
        is_over = self._plan.seconds is not None and elapsed_s >= self._plan.seconds
        request = None if is_over or self._stop.is_set() else next(self._requests, None)
        self._is_exhausted = request is None
        self._begun += request is not None
        return request

    def _wait(self) -> None:
        timeout = 0.05 if self._plan.rate_per_s is None else 0.001
        if self._later:
            timeout = min(timeout, max(0.0, self._later[0][0] - time.perf_counter()))
        for key, events in self._selector.select(timeout):
            connection = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    self._write(connection)
                if events & selectors.EVENT_READ:
                    self._read(connection)
            except OSError:
                self._lose(connection)

    def _send(self, connection: _Connection) -> None:
        connection.sent = 0
        connection.received.clear()
        connection.heard = time.perf_counter()
        try:
            if connection.socket is None:
                connection.socket = socket.create_connection(self._address, timeout=5)
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.socket.setblocking(False)
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            self._write(connection)
        except OSError:
            self._lose(connection)

    def _write(self, connection: _Connection) -> None:
        assert connection.socket is not None
        assert connection.request is not None
        wire = connection.request.wire
        try:
            with memoryview(wire) as rest:
                connection.sent += connection.socket.send(rest[connection.sent :])
        except BlockingIOError:
            pass
        is_sending = connection.sent < len(wire)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_sending else 0)
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _read(self, connection: _Connection) -> None:
        if connection.socket is None:
            return  # lost while writing
        try:
            received = connection.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not received:
            raise ConnectionResetError
        connection.received += received
        head_end = connection.received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(connection.received[:head_end])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body_bytes = int(length[1]) if length else 0
        if len(connection.received) >= head_end + 4 + body_bytes:
            self._answered(connection, int(head[9:12]), head)

    def _answered(self, connection: _Connection, status: int, head: bytes) -> None:
        now = time.perf_counter()
        assert connection.request is not None
        if b"\r\nconnection: close" in head.lower():
            self._close(connection)
        if status == OK:
            self._report.requests += 1
            self._report.records += connection.request.records
            self._report.latencies_s.append(now - connection.began)
        else:
            self._report.refused[status] += 1
            if status not in (TOO_MANY, UNAVAILABLE):
                raise RuntimeError(f"answered {status}: {bytes(connection.received[-500:])!r}")
            if self._plan.seconds is None:
                retry_after = re.search(rb"(?i)\r\nretry-after: *([0-9.]+)", head)
                self._delay(connection, float(retry_after[1]) if retry_after else 1.0)
                return
            # An overload test does not wait: whoever was refused is followed by the next.
        connection.request = None
        self._busy -= 1
        self._idle.append(connection)

    def _lose(self, connection: _Connection) -> None:
        self._close(connection)
        if connection.request is None:
            return  # an idle connection: it is opened again with its next request
        self._report.lost_connections += 1
        if not self._plan.survives_restarts:
            raise ConnectionResetError("the collector closed a connection under a request")
        self._delay(connection, RECONNECT_S)

    def _delay(self, connection: _Connection, seconds: float) -> None:
        self._order += 1
        heapq.heappush(self._later, (time.perf_counter() + seconds, self._order, connection))

    def _close(self, connection: _Connection) -> None:
        if connection.socket is not None:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            connection.socket = None

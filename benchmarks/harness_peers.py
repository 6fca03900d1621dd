"""The harness beside the Runtime Interface Emulator: `python -m benchmarks.harness_peers`.

Warm invokes over HTTP of the same handler on the same interpreter: one client, then eight, each a
process of its own with one keep-alive connection. The emulator takes one invoke at a time; of
several at once it dies, as is shown first. So its eight clients take turns, as what runs it
(AWS SAM) makes them: that is the comparison of like with like, one address that eight clients
invoke. Shown as well are eight emulators, one for each client, which is another system: eight
addresses, and no place where functions, environments, logs and metrics come together. Rounds
alternate, so that all meet the same machine; printed are median and mean of all invokes and the
invokes per second. (With clients that never pause the mean is clients / rate, whoever waits.) Then
cold starts: a first invoke through the Lambda API, beside the runtime client spawned by hand with a
socket for its Runtime API, both from nothing to the answer.

The emulator's binary comes with the `aws-sam-cli` wheel, which is downloaded and not installed;
`--rie PATH` names one that is there.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness_invoke import HANDLER, served

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 8
WARM_UP = 50
CONNECT_S = 10.0
BODY = b'{"n": 1}'
REQUEST = (
    "POST /2015-03-31/functions/{name}/invocations HTTP/1.1\r\nHost: localhost\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="per client, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold-starts", type=int, default=20)
    parser.add_argument("--rie", type=Path, help="the emulator's binary")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(HANDLER)
        rie = arguments.rie or rie_binary(Path(folder))
        with harness(folder, arguments.cold_starts) as port:
            with emulators(rie, folder, 1) as [alone]:
                at_once(alone)
            with emulators(rie, folder, CLIENTS) as ports:
                ours = Side("harness", [(port, "app")])
                theirs = Side("emulator", [(ports[0], "function")])
                warm([ours, theirs], arguments.rounds, arguments.calls)
                sides = [
                    ours.with_clients(CLIENTS),
                    replace(theirs.with_clients(CLIENTS), name="emulator, in turns", in_turns=True),
                    Side(f"{CLIENTS} emulators", [(each, "function") for each in ports]),
                ]
                warm(sides, arguments.rounds, arguments.calls)
            cold(port, rie, folder, arguments.cold_starts)


@dataclass(frozen=True)
class Side:
    """Where invokes go: port and function name, one of each per client."""

    name: str
    targets: list[tuple[int, str]]
    in_turns: bool = False  # each client after the one before it, never two at once

    def with_clients(self, clients: int) -> Side:
        """The same address for so many."""
        return replace(self, targets=self.targets[:1] * clients)


def warm(sides: list[Side], rounds: int, calls: int) -> None:
    """Alternating rounds; a line for each side."""
    results: dict[str, list[tuple[list[float], float]]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            results[side.name].append(invoke_all(side, calls))
    clients = len(sides[0].targets)
    for name, measured in results.items():
        times = sorted(time_s for each, _ in measured for time_s in each)
        rate = statistics.median(len(each) / wall_s for each, wall_s in measured)
        print(
            f"warm, {clients} client{'s' if clients > 1 else ' '}  {name:18} "
            f"median {statistics.median(times) * 1e3:6.3f} ms   "
            f"mean {statistics.fmean(times) * 1e3:6.3f} ms   "
            f"p99 {times[int(len(times) * 0.99)] * 1e3:6.3f} ms   {rate:,.0f} invokes/s",
            flush=True,
        )


def invoke_all(side: Side, calls: int) -> tuple[list[float], float]:
    """Seconds of each invoke, and those from the first client's start to the last one's end.

    With `in_turns` an invoke's time is from the moment the client wants it: its turn comes later.
    """
    context = multiprocessing.get_context("fork")
    clients = len(side.targets)
    start = context.Barrier(clients + 1)
    results = context.SimpleQueue()
    turns = [context.Semaphore(int(number == 0)) for number in range(clients)]

    def one(connection: socket.socket, name: str, number: int) -> float:
        if not side.in_turns:
            return invoke(connection, name)
        started = time.perf_counter()
        turns[number].acquire()
        invoke(connection, name)
        turns[(number + 1) % clients].release()
        return time.perf_counter() - started

    def client(number: int, port: int, name: str) -> None:
        with connect(port) as connection:
            for _ in range(WARM_UP):
                one(connection, name, number)
            start.wait()
            results.put([one(connection, name, number) for _ in range(calls)])

    processes = [
        context.Process(target=client, args=(number, *target))
        for number, target in enumerate(side.targets)
    ]
    for process in processes:
        process.start()
    start.wait()
    started = time.perf_counter()
    times = [time_s for _ in processes for time_s in results.get()]
    wall_s = time.perf_counter() - started
    for process in processes:
        process.join()
    return times, wall_s


def invoke(connection: socket.socket, name: str) -> float:
    """Seconds of one invoke."""
    request = REQUEST.format(name=name).encode() + BODY
    started = time.perf_counter()
    connection.sendall(request)
    answer = connection.recv(65536)
    while not answer.endswith(BODY):
        more = connection.recv(65536)
        if not more:
            raise SystemExit(f"unexpected answer: {answer!r}")
        answer += more
    return time.perf_counter() - started


def at_once(port: int) -> None:
    """Eight clients that do not take turns, for one emulator: says what comes of their invokes."""
    request = REQUEST.format(name="function").encode() + BODY
    answered = 0
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(port)) for _ in range(CLIENTS)]
        invoke(connections[0], "function")  # it has had its cold start
        for _ in range(WARM_UP):
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(request)
            answered += sum(is_answered(connection) for connection in connections)
    print(
        f"one emulator, {CLIENTS} clients at once: "
        f"{answered} of {CLIENTS * WARM_UP} invokes answered by the function"
    )


def is_answered(connection: socket.socket) -> bool:
    """Whether the function's answer comes; the emulator may die of the second invoke."""
    try:
        return connection.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def cold(port: int, rie: Path, folder: str, count: int) -> None:
    """Alternating cold starts; a line for each side."""
    seconds: dict[str, list[float]] = {"harness": [], "by hand": [], "emulator": []}
    for number in range(count):
        with connect(port) as connection:
            seconds["harness"].append(invoke(connection, f"cold{number}"))
        seconds["by hand"].append(by_hand(folder))
        seconds["emulator"].append(emulated_cold_start(rie, folder))
    for name, measured in seconds.items():
        print(
            f"cold start        {name:10} median {statistics.median(measured) * 1e3:.1f} ms   "
            f"longest {max(measured) * 1e3:.1f} ms"
        )
    difference = statistics.median(seconds["harness"]) - statistics.median(seconds["by hand"])
    print(f"harness over by hand: {difference * 1e3:+.1f} ms")


def by_hand(folder: str) -> float:
    """Seconds from spawning the runtime client to its response to the first event."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(CONNECT_S)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        started = time.perf_counter()
        command = [sys.executable, "-m", "awslambdaric", "app.handler"]
        # Its response is not answered, of which it would complain.
        null = subprocess.DEVNULL
        with subprocess.Popen(
            command, env=variables(address), cwd=folder, stdout=null, stderr=null
        ) as process:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(CONNECT_S)
                    receive(connection)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\n"
                        b"Lambda-Runtime-Deadline-Ms: 9999999999999\r\n"
                        b"Lambda-Runtime-Invoked-Function-Arn: arn\r\n"
                        b"Content-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
                    )
                    while not receive(connection).endswith(BODY):
                        continue
                    return time.perf_counter() - started
            finally:
                process.kill()


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise SystemExit("the runtime client closed its connection")
    return data


def emulated_cold_start(rie: Path, folder: str) -> float:
    """Seconds of the first invoke of an emulator that listens."""
    with emulators(rie, folder, 1) as [port], connect(port) as connection:
        return invoke(connection, "function")


def variables(runtime_api: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_LAMBDA_FUNCTION_NAME": "app",
        "AWS_REGION": "us-east-1",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
    }


@contextlib.contextmanager
def harness(folder: str, cold_starts: int) -> Iterator[int]:
    """A harness with the function `app`, and one more for each cold start."""
    targets = ["app.handler", *(f"cold{number}=app.handler" for number in range(cold_starts))]
    command = [sys.executable, "-m", "lambdatrace.cli", "start", *targets, "--port", "0"]
    with served([*command, "--code-dir", folder]) as port:
        yield port


@contextlib.contextmanager
def emulators(rie: Path, folder: str, count: int) -> Iterator[list[int]]:
    """Emulators with the same handler; gives their ports."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            port, api_port = free_port(), free_port()
            command = [
                *(str(rie), "--log-level", "error"),
                *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
                *("--runtime-api-address", f"127.0.0.1:{api_port}"),
                *(sys.executable, "-m", "awslambdaric", "app.handler"),
            ]
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=folder,
                    env=variables(f"127.0.0.1:{api_port}"),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            ports.append(port)
        for port in ports:
            connect(port).close()
        yield ports


def connect(port: int) -> socket.socket:
    """A connection to a server that may be about to listen."""
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_S)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def rie_binary(folder: Path) -> Path:
    """The emulator out of the `aws-sam-cli` wheel, in `folder`."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "aws-sam-cli"]
    subprocess.run([*command, "-d", str(folder)], check=True, timeout=300)
    [wheel] = folder.glob("aws_sam_cli-*.whl")
    machine = "arm64" if platform.machine() == "aarch64" else "x86_64"
    with zipfile.ZipFile(wheel) as archive:
        binary = Path(archive.extract(f"samcli/local/rapid/aws-lambda-rie-{machine}", folder))
    binary.chmod(0o755)
    return binary


if __name__ == "__main__":
    main()

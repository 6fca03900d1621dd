"""What recording a library's calls costs: to attach our patch, and a call, over the library's own.

    python -m benchmarks.patches [--rounds 7] [--calls 500]

Each variant runs in fresh processes, inside an invocation that has begun, on a transport that
answers at once: what is left is the library's own work, and ours. The same calls run with our
wrappers in place and with the library's own functions put back, in blocks that alternate; of each
the quickest block counts. Shown are medians over the processes: in ms what the library's patch
takes to load and attach as the first of all, with what they share; in µs a call without us, with
us, and the difference. The journal is on, as in Lambda, and each call of ours must leave a span.
Beside it stands what OpenTelemetry's instrumentor of the same library adds in the same way, with
its SDK's batch processor and an exporter that sends nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

# Each has the module that is watched for, and makes `run`.
VARIANTS = {
    "botocore SQS.SendMessage": (
        "botocore.client",
        """
import io
import botocore.session
from botocore.awsrequest import AWSResponse

queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"
body = b'{"MessageId":"m"}'

def answer(request, **_):
    raw = io.BytesIO(body)
    raw.stream = lambda *_, **__: iter([body])
    return AWSResponse(request.url, 200, {"x-amzn-RequestId": "r"}, raw)

client = botocore.session.get_session().create_client(
    "sqs", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
)
client.meta.events.register_first("before-send.*", answer)

def run():
    client.send_message(QueueUrl=queue, MessageBody="paid")
""",
    ),
    "botocore DynamoDB.GetItem": (
        "botocore.client",
        """
import io
import botocore.session
from botocore.awsrequest import AWSResponse

body = b'{"Item":{"id":{"S":"1"}}}'

def answer(request, **_):
    raw = io.BytesIO(body)
    raw.stream = lambda *_, **__: iter([body])
    return AWSResponse(request.url, 200, {"x-amzn-RequestId": "r"}, raw)

client = botocore.session.get_session().create_client(
    "dynamodb", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
)
client.meta.events.register_first("before-send.*", answer)

def run():
    client.get_item(TableName="orders", Key={"id": {"S": "1"}})
""",
    ),
    "urllib3": (
        "urllib3.connectionpool",
        """
import urllib3

pool = urllib3.PoolManager()

def run():
    pool.request("GET", "http://stock.example/items/1")
""",
    ),
    "requests": (
        "requests.sessions",
        """
import requests

session = requests.Session()

def run():
    session.get("http://stock.example/items/1")
""",
    ),
    "requests, own adapter": (
        "requests.sessions",
        """
import requests, requests.adapters

class Adapter(requests.adapters.BaseAdapter):
    def send(self, request, **_):
        response = requests.Response()
        response.status_code, response.request, response._content = 200, request, b""
        return response

session = requests.Session()
session.mount("http://", Adapter())

def run():
    session.get("http://stock.example/items/1")
""",
    ),
    "http.client": (
        "http.client",
        """
def run():
    connection = http.client.HTTPConnection("stock.example")
    connection.request("GET", "/items/1")
    connection.getresponse().read()
""",
    ),
}

# What stands for the network: each request is answered at once.
TRANSPORT = """
import contextlib, gc, http.client, io, sys, time

class Socket:
    def sendall(self, data):
        pass

    def makefile(self, mode):
        head = b"HTTP/1.1 200 OK", b"Content-Length: 0", b"Connection: close", b"", b""
        return io.BytesIO(b"\\r\\n".join(head))

    def close(self):
        pass

    shutdown = settimeout = setsockopt = lambda *_: None

{source}

def connect(connection):
    connection.sock = Socket()

http.client.HTTPConnection.connect = connect
if "urllib3" in sys.modules:
    import urllib3.connection
    urllib3.connection.HTTPConnection.connect = connect

CALLS = 20  # of one invocation: then what it recorded is taken to be sent

def clock(calls):
    start = time.perf_counter_ns()
    for _ in range(calls):
        run()
    return (time.perf_counter_ns() - start) / calls / 1000
"""

HARNESS = (
    TRANSPORT
    + """
import lambdatrace
from lambdatrace import post_import, telemetry
from lambdatrace.testing import LambdaContext

post_import._is_armed = True  # here, not by itself, to be timed

def put(wrappers):
    for (owner, name), function in wrappers.items():
        setattr(owner, name, function)

@lambdatrace.instrument
def handler(event, context):
    current = telemetry.installed()
    guard = current.guard
    assert current.journal is not None
    doors = dict(post_import.DOORS)
    gc.collect()
    gc.disable()  # a collection that happens to fall due walks the library's objects, not ours
    start = time.perf_counter_ns()
    post_import.arm({{"{watched}": doors.pop("{watched}")}}, guard)
    attach_ms = (time.perf_counter_ns() - start) / 1e6
    gc.enable()
    post_import.arm({{name: door for name, door in doors.items() if "patches" in door}}, guard)
    from lambdatrace import patches
    ours = {{(owner, name): vars(owner)[name] for owner, name in patches._wrapped}}
    theirs = {{key: function.__wrapped__ for key, function in ours.items()}}
    blocks = []
    for _ in range({calls} // CALLS):
        put(theirs)
        without = clock(CALLS)
        put(ours)
        patched = clock(CALLS)
        assert len(current.buffer.take(2 * CALLS)) == CALLS
        current.journal.settle(lambda: True, list)  # as after each response: it is mapped by then
        blocks.append((without, patched))
    without, patched = (min(block[at] for block in blocks) for at in (0, 1))
    assert guard.failures == 0
    assert current.journal.dropped == 0
    print(attach_ms, without, patched, file=sys.__stdout__)

with contextlib.redirect_stdout(io.StringIO()):
    handler({{}}, LambdaContext())
"""
)

# OpenTelemetry's instrumentors, by what is watched for.
PEERS = {
    "botocore.client": ("botocore", "BotocoreInstrumentor"),
    "requests.sessions": ("requests", "RequestsInstrumentor"),
}

PEER_HARNESS = (
    TRANSPORT
    + """
from opentelemetry import trace
from opentelemetry.instrumentation.{module} import {name}
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

class Nowhere(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS

processor = BatchSpanProcessor(Nowhere(), schedule_delay_millis=3_600_000)
provider = TracerProvider()
provider.add_span_processor(processor)
trace.set_tracer_provider(provider)
instrumentor = {name}()
blocks = []
with provider.get_tracer("invocation").start_as_current_span("invocation"):
    for _ in range({calls} // CALLS):
        without = clock(CALLS)
        instrumentor.instrument()
        patched = clock(CALLS)
        instrumentor.uninstrument()
        processor.force_flush()
        blocks.append((without, patched))
print(0, *(min(block[at] for block in blocks) for at in (0, 1)))
provider.shutdown()
"""
)

ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": "orders",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",  # nobody listens; with one there is a journal
    # As the runtime sets it: botocore sends it on without us too.
    "_X_AMZN_TRACE_ID": f"Root=1-65534b90-{1:024x};Parent={1:016x};Sampled=1",
    "OTEL_TRACES_EXPORTER": "none",  # the sending has a benchmark of its own: cold_start
    "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
}

ATTACH_BAR_MS = 1.0
CALL_BAR_US = 20.0


def measure(rounds: int, calls: int) -> dict[str, tuple[float, float, float, float | None]]:
    """Medians: to attach in ms, a call without us and with us in µs, and what the peer adds."""
    peers: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    samples: dict[str, list[list[float]]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as bytecode:
        # Compiled as in a layer: the first round writes the bytecode and is not counted.
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPYCACHEPREFIX": bytecode}
        environment["TMPDIR"] = bytecode  # where the journal is
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for is_counted in (False, *[True] * rounds):
            for variant, (watched, source) in VARIANTS.items():
                program = HARNESS.format(calls=calls, watched=watched, source=source)
                figures = _run(program, environment)
                added = _peer(watched, source, calls, environment)
                if is_counted:
                    samples[variant].append(figures)
                    peers[variant] += [] if added is None else [added]
    medians = {}
    for variant, rows in samples.items():
        attach_ms, without, patched = map(statistics.median, zip(*rows, strict=True))
        peer = statistics.median(peers[variant]) if peers[variant] else None
        medians[variant] = attach_ms, without, patched, peer
    return medians


def _peer(watched: str, source: str, calls: int, environment: dict[str, str]) -> float | None:
    """What OpenTelemetry's instrumentor adds to a call, in µs; None where it has none here."""
    if watched not in PEERS:
        return None
    module, name = PEERS[watched]
    program = PEER_HARNESS.format(calls=calls, source=source, module=module, name=name)
    _, without, patched = _run(program, environment)
    return patched - without


def _run(program: str, environment: dict[str, str]) -> list[float]:
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [float(word) for word in process.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=500)
    arguments = parser.parse_args()
    print(f"{'':26}{'attach':>10}  (bar {ATTACH_BAR_MS} ms)", end="")
    print(f"{'without':>12}{'with':>10}{'more':>10}  (bar {CALL_BAR_US} µs)   OpenTelemetry's more")
    for variant, figures in measure(arguments.rounds, arguments.calls).items():
        attach_ms, without, patched, peer = figures
        more = patched - without
        print(
            f"{variant:26}{attach_ms:7.2f} ms  {_verdict(attach_ms, ATTACH_BAR_MS):12}"
            f"{without:9.1f} µs{patched:7.1f} µs{more:7.1f} µs  {_verdict(more, CALL_BAR_US):12}"
            + ("" if peer is None else f"{peer:12.1f} µs")
        )


def _verdict(value: float, bar: float) -> str:
    return "met" if value <= bar else "MISSED"


if __name__ == "__main__":
    main()

"""Invokes that go wrong at random, each accounted for once: `python -m benchmarks.harness_chaos`.

Clients invoke one function over HTTP that returns, raises, exits, hangs until its timeout,
allocates beyond its memory, forks or prints megabytes. Then every invoke must be found exactly once
in what the callers got, in the log (START, END, REPORT, every line printed) and in the metrics, and
nothing may be left: no process, file descriptor or temporary file. Ends with the first wrong
account, exit status 1; `--seed` repeats a run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from benchmarks.functions.chaos import LINES
from lambdatrace.harness import Function, Harness
from lambdatrace.harness.metrics import executed, metric_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.harness import InvocationFacts, LogEvent

FUNCTIONS = Path(__file__).parent / "functions"
# behaviour → how often, and the error types its caller may get; "" is an answer
BEHAVIOURS = {
    "return": (50, {""}),
    "raise": (12, {"ValueError"}),
    "exit": (8, {"Runtime.ExitError"}),
    "sys.exit": (8, {"Runtime.ExitError"}),
    "timeout": (2, {"Sandbox.Timedout"}),
    "allocate": (4, {"Runtime.ExitError", "Runtime.OutOfMemory"}),
    "fork": (12, {""}),
    "print": (4, {""}),
}
# On a machine that cannot keep up, any invoke may reach its timeout.
LATE = "Sandbox.Timedout"
TIMEOUT_S = 10.0
THROTTLE_WAIT_S = 0.05
CALL_S = 120.0
LIMIT_S = 900.0
GONE_S = 20.0
_LINE = re.compile(r"line (\d+) (\d+) \.+\n")
_PLATFORM = re.compile(r"(START|END|REPORT) RequestId: ([0-9a-f-]{36})")


class Answered(NamedTuple):
    """What the caller of one invoke got."""

    behaviour: str
    request_id: str
    error_type: str
    payload: object


class Witness:
    """What the harness wrote and counted."""

    def __init__(self) -> None:
        self.platform: Counter[tuple[str, str]] = Counter()
        self.lines: Counter[tuple[int, int]] = Counter()
        self.begun: Counter[int] = Counter()
        self.executed: list[InvocationFacts] = []

    def logged(self, _: str, event: LogEvent) -> None:
        if found := _PLATFORM.match(event.message):
            self.platform[found[1], found[2]] += 1
        elif found := _LINE.fullmatch(event.message):
            self.lines[int(found[1]), int(found[2])] += 1
        elif event.message.startswith("begin "):
            self.begun[int(event.message.split()[1])] += 1


class Call:
    """The clients' side: events of a random sequence, one keep-alive connection per thread."""

    def __init__(self, endpoint_url: str, seed: int, deadline: float) -> None:
        self.throttled = 0
        self._deadline = deadline
        self._address = urlsplit(endpoint_url).netloc
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[http.client.HTTPConnection] = []
        choice = random.Random(seed)
        kinds, weights = list(BEHAVIOURS), [weight for weight, _ in BEHAVIOURS.values()]
        self._kinds: Iterator[str] = iter(lambda: choice.choices(kinds, weights)[0], "")

    def __call__(self, n: int) -> Answered:
        with self._lock:
            behaviour = next(self._kinds)
        body = json.dumps({"n": n, "do": behaviour})
        while True:
            if time.monotonic() > self._deadline:
                raise SystemExit(f"invoke {n} was not sent when the time for the run was over")
            status, headers, payload = self._post(body)
            if status == 200:
                break
            if status != 429:
                raise SystemExit(f"invoke {n} ({behaviour}): {status} {payload!r}")
            with self._lock:
                self.throttled += 1
            time.sleep(THROTTLE_WAIT_S)
        document = json.loads(payload)
        is_failed = "X-Amz-Function-Error" in headers
        error_type = document["errorType"] if is_failed else ""
        return Answered(behaviour, headers["x-amzn-RequestId"], error_type, document)

    def close(self) -> None:
        """Closes the clients' connections."""
        for connection in self._connections:
            connection.close()

    def _post(self, body: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._address, timeout=CALL_S)
            self._local.connection = connection
            with self._lock:
                self._connections.append(connection)
        connection.request("POST", "/2015-03-31/functions/chaos/invocations", body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def run(
    invocations: int,
    concurrency: int,
    seed: int,
    *,
    timeout_s: float = TIMEOUT_S,
    limit_s: float = LIMIT_S,
) -> list[str]:
    """What is wrong after a run; prints what came of it. SystemExit when it takes too long."""
    marker = f"CHAOS_RUN_{uuid.uuid4().hex}"
    descriptors = open_descriptors()
    folders = temp_folders()
    witness = Witness()
    function = Function(
        "chaos",
        "chaos.handler",
        code_dir=FUNCTIONS,
        timeout_s=timeout_s,
        environment={marker: "1"},
    )
    started = time.perf_counter()
    harness = Harness(
        [function],
        concurrency_max=concurrency,
        on_log=witness.logged,
        on_executed=witness.executed.append,
    )
    with harness:
        call = Call(harness.endpoint_url, seed, time.monotonic() + limit_s)
        with ThreadPoolExecutor(concurrency) as pool:
            answered = list(pool.map(call, range(invocations)))
        call.close()
        harness.wait_frozen("chaos", timeout_s=CALL_S)
        elapsed_s = time.perf_counter() - started
    stop_s = time.perf_counter() - started - elapsed_s
    print(
        f"{invocations} invokes at concurrency {concurrency} in {elapsed_s:.1f} s, seed {seed}, "
        f"stopped in {stop_s:.1f} s; {call.throttled} throttled and sent again"
    )
    kinds = Counter((each.behaviour, each.error_type or "answer") for each in answered)
    for (behaviour, outcome), count in sorted(kinds.items()):
        print(f"  {behaviour:10} {outcome:22} {count}")
    return [
        *wrong_results(answered),
        *wrong_logs(answered, witness),
        *wrong_metrics(answered, witness),
        *left_behind(marker, descriptors, folders),
    ]


def wrong_results(answered: list[Answered]) -> list[str]:
    """Each invoke has one answer, of the kind its behaviour gives."""
    wrong = []
    ids = Counter(each.request_id for each in answered)
    wrong += [f"{count} answers have the id {name}" for name, count in ids.items() if count > 1]
    for n, each in enumerate(answered):
        allowed = BEHAVIOURS[each.behaviour][1]
        if each.error_type not in allowed | {LATE} or (not each.error_type and each.payload != n):
            wrong.append(f"invoke {n} ({each.behaviour}) was answered {str(each.payload)[:200]}")
    return wrong


def wrong_logs(answered: list[Answered], witness: Witness) -> list[str]:
    """START, END and REPORT, and each line that was printed, once for each invoke."""
    expected = {(word, each.request_id) for each in answered for word in ("START", "END", "REPORT")}
    wrong = [
        f"{word} of {name} is in the log {witness.platform[word, name]} times"
        for word, name in sorted(expected | set(witness.platform))
        if witness.platform[word, name] != ((word, name) in expected)
    ]
    for n, each in enumerate(answered):
        if witness.begun[n] != 1 and each.error_type != LATE:
            wrong.append(f"invoke {n} ({each.behaviour}) began {witness.begun[n]} times in the log")
        if each.behaviour == "print" and not each.error_type:
            counts = [witness.lines[n, line] for line in range(LINES)]
            if counts != [1] * LINES:
                wrong.append(f"of invoke {n} {sum(counts)} lines of {LINES} are in the log")
    return wrong


def wrong_metrics(answered: list[Answered], witness: Witness) -> list[str]:
    """One sample for each invoke, and an error for each that failed."""
    failed = {each.request_id for each in answered if each.error_type}
    # Answered in time, and not done with it: that is an error too, and nobody's caller is told.
    failed |= {
        each.request_id
        for each in witness.executed
        if each.report and each.report.status == "timeout"
    }
    counted = Counter(facts.request_id for facts in witness.executed)
    wrong = [
        f"{each.request_id} ({each.behaviour}) is counted {counted[each.request_id]} times"
        for each in answered
        if counted[each.request_id] != 1
    ]
    wrong += [
        f"{facts.request_id} is counted as {'an error' if facts.is_error else 'no error'}"
        for facts in witness.executed
        if facts.is_error != (facts.request_id in failed)
    ]
    sums: Counter[str] = Counter()
    for datum in metric_data(sample for facts in witness.executed for sample in executed(facts)):
        if datum["Dimensions"] == [{"Name": "FunctionName", "Value": "chaos"}]:
            pairs = zip(datum["Values"], datum["Counts"], strict=True)
            sums[datum["MetricName"]] += round(sum(value * count for value, count in pairs))
    if (sums["Invocations"], sums["Errors"]) != (len(answered), len(failed)):
        wrong.append(f"the metrics are {sums}, of {len(answered)} invokes {len(failed)} failed")
    return wrong


def left_behind(marker: str, descriptors: set[str], folders: set[str]) -> list[str]:
    """Processes, descriptors and folders that are there still, after a moment to go."""
    deadline = time.monotonic() + GONE_S
    while True:
        left = [f"process {pid} is left" for pid in marked_processes(marker)]
        left += [f"{each} is open still" for each in sorted(open_descriptors() - descriptors)]
        left += [f"{each} is left" for each in sorted(temp_folders() - folders)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def marked_processes(marker: str) -> list[int]:
    """Processes that inherited the run's variable."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                is_ours = marker.encode() in (entry / "environ").read_bytes()
            except OSError:
                continue
            if is_ours:
                found.append(int(entry.name))
    return found


def open_descriptors() -> set[str]:
    """This process's, each with what it is."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"descriptor {link.name} ({link.readlink()})")
        except OSError:
            continue
    return found


def temp_folders() -> set[str]:
    """What functions and harnesses leave in the machine's temporary folder."""
    base = Path(tempfile.gettempdir())
    own = base / f"lambdatrace-harness-{os.getuid()}"
    return {str(path) for path in (*base.glob("chaos-*"), *own.glob("*/tmp-*"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invocations", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="of the run, in seconds")
    arguments = parser.parse_args()
    wrong = run(
        arguments.invocations, arguments.concurrency, arguments.seed, limit_s=arguments.limit
    )
    print(f"{len(wrong)} wrong", *wrong[:20], sep="\n  ")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()

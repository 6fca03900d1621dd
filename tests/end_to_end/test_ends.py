"""Every way a function ends, in every shape, with the endpoint in every state: what arrives.

On the real runtime client in the harness. Every span and every metric arrives exactly once, with
its status and `error.type`; what a process left that died at once comes with a later invocation in
the same environment.
"""

from __future__ import annotations

import json
import textwrap
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import Function, Harness
from tests.end_to_end.conftest import OtlpReceiver, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    # Name, status code and error.type of a span.
    Fact = tuple[str, int, str]

ERROR = 2
ARRIVES_S = 40.0
AT_ONCE = 6  # functions invoked at the same time
EXIT_ERROR, TIMED_OUT = "Runtime.ExitError", "Sandbox.Timedout"

APP = """
    import asyncio, os, time
    import lambdatrace

    taken = []

    def end(how):
        if how == "exception":
            raise ValueError("no")
        if how == "SystemExit":
            raise SystemExit(3)
        if how == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if how == "timeout":
            time.sleep(60)
        if how == "exit":
            os._exit(1)
        if how == "segfault":
            import ctypes
            ctypes.string_at(0)
        while how == "memory":
            taken.append(b"x" * 4_000_000)
            time.sleep(0.01)
        return how

    def work(how):
        with lambdatrace.span("work", attributes={"how": how}):
            lambdatrace.metric("Worked", 1, unit="Count")
            with lambdatrace.span("done"):
                pass
            return end(how)

    @lambdatrace.instrument
    def sync(event, context):
        return work(event)

    @lambdatrace.instrument
    async def coroutine(event, context):
        with lambdatrace.span("work", attributes={"how": event}):
            lambdatrace.metric("Worked", 1, unit="Count")
            with lambdatrace.span("done"):
                await asyncio.sleep(0)
            if event == "timeout":
                await asyncio.sleep(60)
            return end(event)

    @lambdatrace.instrument
    def stream(event, context):
        yield "first"
        yield work(event)

    def generator(event, context):
        return list(stream(event, context))
"""

# How the first invocation ends → the error.type of what was open then, and whether that costs the
# process.
ENDS = {
    "return": ("", False),
    "exception": ("ValueError", False),
    "SystemExit": ("SystemExit", True),
    "KeyboardInterrupt": ("KeyboardInterrupt", True),
    "timeout": (TIMED_OUT, True),
    "exit": (EXIT_ERROR, True),
    "segfault": (EXIT_ERROR, True),
    "memory": (EXIT_ERROR, True),
}
SHAPES = ("sync", "coroutine", "generator")

# Modules that a handler redirect imports. `attempt` counts the processes of the environment.
ATTEMPT = """
    import os, time, tempfile
    path = os.path.join(tempfile.gettempdir(), "attempts")
    with open(path, "a+") as file:
        file.write("x")
    attempt = os.path.getsize(path)
"""
HANDLER = """
    def handler(event, context):
        return event
"""
# Lambda tries an init that failed again inside the first invocation.
FAILS_TWICE = ATTEMPT + "\n    if attempt <= 2:\n        raise RuntimeError('no')\n" + HANDLER
HANGS_ONCE = ATTEMPT + "\n    if attempt == 1:\n        time.sleep(60)\n" + HANDLER


class Endpoint:
    """An endpoint in one of the states, until `come_back`."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.receiver = OtlpReceiver(is_listening=state != "down")
        if state == "slow":
            self.receiver.delay_s = 0.04
        if state == "back later":
            self.receiver.status = 503
        self._thread = threading.Thread(target=self.receiver.serve_forever, args=(0.01,))
        if state != "down":
            self._thread.start()

    def come_back(self) -> None:
        """From now on it stores what comes."""
        if self.state == "down" and not self._thread.is_alive():
            self.receiver.server_activate()
            self._thread.start()
        self.receiver.status = 200

    def close(self) -> None:
        self.come_back()
        self.receiver.shutdown()
        self._thread.join()
        self.receiver.server_close()

    def facts(self, name: str) -> list[list[Fact]]:
        """What there is of a function, one list for each trace."""
        traces: dict[bytes, list[Fact]] = {}
        for span in list(self.receiver.spans):
            error_type = str(attributes(span).get("error.type", ""))
            fact = (span.name.replace(name, "NAME"), span.status.code, error_type)
            traces.setdefault(span.trace_id, []).append(fact)
        own = {"NAME", "init NAME"}
        return sorted(
            sorted(facts) for facts in traces.values() if own & {fact[0] for fact in facts}
        )


@contextmanager
def endpoint_that_is(state: str) -> Iterator[Endpoint]:
    endpoint = Endpoint(state)
    try:
        yield endpoint
    finally:
        endpoint.close()


class Case:
    """One function, what is to be invoked, and what must be there of each trace."""

    def __init__(self, name: str, payload: str, first: list[list[Fact]], *, is_lost: bool) -> None:
        self.name = name
        self.payload = payload
        self.expected = first
        self.is_lost = is_lost  # the process, with the first invocation
        self.request_ids: list[str] = []
        self.has_metrics = payload in ENDS

    def ran_well(self) -> None:
        """One more invocation has ended as it should."""
        well: list[Fact] = [("NAME", 0, "")]
        if self.has_metrics:
            well += [("done", 0, ""), ("work", 0, "")]
        if self.is_lost:
            self.is_lost = False
            well += [("import app", 0, ""), ("init NAME", 0, "")]
        self.expected = sorted([*self.expected, sorted(well)])


def ended_case(name: str, payload: str) -> Case:
    error_type, is_lost = ENDS[payload]
    code = ERROR if error_type else 0
    first: list[Fact] = [
        *[("NAME", code, error_type), ("done", 0, ""), ("work", code, error_type)],
        *[("import app", 0, ""), ("init NAME", 0, "")],
    ]
    return Case(name, payload, [sorted(first)], is_lost=is_lost)


def failed_init(error_type: str) -> list[Fact]:
    return [("import app", ERROR, error_type), ("init NAME", ERROR, error_type)]


def add_functions(harness: Harness, folder: Path, endpoint: Endpoint) -> list[Case]:
    """The functions of all ends in all shapes, those first whose end takes longest."""
    cases = []
    redirect = {"LAMBDATRACE_HANDLER": "app.handler"}
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint.receiver.url}

    def add(name: str, code: str, handler: str, **variables: str) -> None:
        module = folder / code
        harness.add_function(
            Function(
                name,
                handler,
                code_dir=module,
                timeout_s=2 if name.startswith("timeout") else 30,
                environment={**environment, **variables},
            )
        )

    for code, source in (("ends", APP), ("fails", FAILS_TWICE), ("hangs", HANGS_ONCE)):
        (folder / code).mkdir()
        (folder / code / "app.py").write_text(textwrap.dedent(source))
    add("hangs", "hangs", "lambdatrace.auto.handler", **redirect)
    healthy: list[Fact] = [("NAME", 0, ""), ("import app", 0, ""), ("init NAME", 0, "")]
    # The invocation that had to wait for both inits has them in its trace.
    cases.append(Case("hangs", "fine", [sorted(failed_init(TIMED_OUT) + healthy)], is_lost=False))
    add("fails", "fails", "lambdatrace.auto.handler", **redirect)
    cases.append(Case("fails", "fine", [failed_init("RuntimeError")] * 2, is_lost=True))
    for payload in sorted(ENDS, key="timeout".__ne__):
        for shape in SHAPES:
            name = f"{payload}-{shape}"
            add(name, "ends", f"app.{shape}")
            cases.append(ended_case(name, payload))
    return cases


def invoke(harness: Harness, case: Case, payload: str) -> str:
    """Invoke and wait until the environment is frozen; the function's error."""
    result = harness.invoke(case.name, payload)
    harness.wait_frozen(case.name, 30)
    case.request_ids.append(result.request_id)
    return result.function_error


def end(harness: Harness, case: Case) -> None:
    """The first invocation, which ends as the case has it."""
    is_error = invoke(harness, case, case.payload) != ""
    assert is_error == (case.name == "fails" or ENDS.get(case.payload, ("",))[0] != ""), case.name


def go_on(harness: Harness, case: Case) -> None:
    """A later invocation in the same environment, which ends well."""
    assert invoke(harness, case, "return") == "", case.name
    case.ran_well()


def wait_for_all(harness: Harness, case: Case, endpoint: Endpoint) -> None:
    """Go on until all has arrived: after a failure an endpoint is left alone for a while."""
    deadline = time.monotonic() + ARRIVES_S
    while endpoint.facts(case.name) != case.expected and time.monotonic() < deadline:
        time.sleep(0.3)
        go_on(harness, case)


def metrics(harness: Harness, case: Case) -> list[str]:
    """The request ids of the metrics in the log."""
    lines = [event.message for event in harness.logs(case.name)]
    return [json.loads(line)["requestId"] for line in lines if '"Worked":1.0' in line]


@pytest.mark.parametrize("state", ["up", "slow", "down", "back later"])
def test_whatever_the_end_each_span_and_each_metric_arrives_once(
    state: str, tmp_path: Path
) -> None:
    with (
        endpoint_that_is(state) as endpoint,
        Harness() as harness,
        ThreadPoolExecutor(AT_ONCE) as at_once,
    ):
        cases = add_functions(harness, tmp_path, endpoint)

        def each(step: Any) -> None:
            list(at_once.map(step, cases))

        each(lambda case: end(harness, case))
        if state == "back later":
            endpoint.come_back()
        each(lambda case: go_on(harness, case))
        endpoint.come_back()
        each(lambda case: wait_for_all(harness, case, endpoint))
        found = {case.name: endpoint.facts(case.name) for case in cases}
        assert found == {case.name: case.expected for case in cases}
        ids = Counter(span.span_id for span in endpoint.receiver.spans)
        assert [count for count in ids.values() if count > 1] == [], "nothing twice"
        for case in cases:
            if case.has_metrics:
                assert sorted(metrics(harness, case)) == sorted(case.request_ids), case.name
            environments = harness.environments(case.name)
            assert len(environments) == 1, case.name

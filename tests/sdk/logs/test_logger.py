"""The structured logger: Powertools' keys, `logging`'s behaviour, and no surprise of its own."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from aws_lambda_powertools import Logger as PowertoolsLogger
from aws_lambda_powertools.logging import correlation_paths as powertools_paths
from hypothesis import given
from hypothesis import strategies as st

import lambdatrace
from lambdatrace.guard import Guard
from lambdatrace.logs import correlation_paths
from lambdatrace.logs.correlation_paths import look_up
from lambdatrace.logs.json_lines import timestamp
from lambdatrace.testing import LambdaContext, Recorded, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

X_RAY = "Root=1-67891233-abcdef012345678912345678"
EVENT = {
    "requestContext": {"requestId": "c-1"},
    "headers": {"x-amzn-trace-id": X_RAY},
}


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A service of the test's own: loggers live as long as the process."""
    service = request.node.name
    yield service
    for logger in (logging.getLogger(service), logging.getLogger(f"{service}.child")):
        logger.handlers.clear()
        logger.filters.clear()
        logger.propagate = True


def lines(recorded: Recorded) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorded.stdout.splitlines()]


def invoke(handler: Callable[[Any, Any], Any], event: Any = None, request_id: str = "r-1") -> Any:
    context = LambdaContext(aws_request_id=request_id)
    return lambdatrace.instrument(handler)({} if event is None else event, context)


def test_a_line_has_the_invocation_and_the_trace_in_powertools_keys(name: str) -> None:
    with recording() as recorded:
        log = lambdatrace.logger(name, team="a")
        log.info("before")
        invoke(lambda _event, _context: log.info("paid %s", 5, order_id=7))
    before, line = lines(recorded)
    when = line.pop("timestamp")
    assert when.endswith("+00:00")
    assert line == {
        "level": "INFO",
        "location": f"<lambda>:{line['location'].rpartition(':')[2]}",
        "message": "paid 5",
        "service": name,
        "cold_start": True,
        "function_name": "orders",
        "function_memory_size": "128",
        "function_arn": "arn:aws:lambda:eu-west-1:123456789012:function:orders",
        "function_request_id": "r-1",
        "trace_id": "0" * 31 + "1",
        "span_id": "0" * 15 + "1",
        "trace_flags": "01",
        "team": "a",
        "order_id": 7,
    }
    assert set(before) == {"level", "location", "message", "timestamp", "service", "team"}


def _session(log: Any) -> None:
    log.append_keys(order=7, gone=1)
    log.remove_keys(["gone"])
    log.set_correlation_id("c-2")
    log.info("plain")
    log.warning("with %s and %d", "arguments", 2)
    log.error({"a": {"b": [1, 2]}}, extra={"k": "v"})
    log.info("keyword", price=1.5, odd=UUID(int=1))
    log.debug("not written")
    with log.append_context_keys(inner=True):
        log.critical("inside")
    log.info("outside")
    try:
        int("no stock")
    except ValueError:
        log.exception("failed")


def test_the_same_calls_give_what_powertools_logger_gives(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0")
    monkeypatch.setattr("aws_lambda_powertools.logging.logger._is_cold_start", lambda: True)
    theirs = io.StringIO()
    powertools = PowertoolsLogger(
        service=f"{name}.powertools", stream=theirs, use_rfc3339=True, utc=True, team="a"
    )

    @powertools.inject_lambda_context(correlation_id_path=powertools_paths.API_GATEWAY_REST)
    def their_handler(_event: Any, _context: Any) -> None:
        powertools.info("first")
        _session(powertools)

    their_handler(EVENT, LambdaContext())

    with recording({"LAMBDATRACE_LOGS_INJECTION": "false"}) as recorded:
        log = lambdatrace.logger(name, team="a")

        @lambdatrace.instrument
        @log.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
        def our_handler(_event: Any, _context: Any) -> None:
            log.info("first")
            _session(log)

        our_handler(EVENT, LambdaContext())

    ours = lines(recorded)
    expected = [json.loads(line) for line in theirs.getvalue().splitlines()]
    for document in [*ours, *expected]:
        document["service"] = document["service"].partition(".")[0]
        assert len(document.pop("timestamp")) == len("2026-11-21T10:11:58.239+00:00")
        # The first call is not in the same line of the same function; and where an exception was
        # logged, Powertools names a line of its own before Python 3.11.
        if document["message"] == "first" or "exception" in document:
            document.pop("location")
    assert ours == expected
    assert len(ours) == 8


def _keys_session(log: Any) -> None:
    log.append_keys(a=1)
    log.thread_safe_append_keys(request="t-1", a=2)
    log.info("own thread")
    thread = threading.Thread(target=log.info, args=("another thread",))
    thread.start()
    thread.join()
    log.thread_safe_remove_keys(["a"])
    log.info("without one", kept=log.thread_safe_get_current_keys())
    log.thread_safe_clear_keys()
    log.info("without any", kept=log.thread_safe_get_current_keys())
    log.structure_logs(append=True, b=2)
    log.info("appended")
    log.structure_logs(c=3)
    log.info("anew")
    log.clear_state()
    log.info("as made")
    log.set_correlation_id("c-2")
    log.info("correlated", found=log.get_correlation_id())
    log.set_correlation_id(None)
    log.info("no more")


def _logging_session(log: Any) -> None:
    stock: dict[str, int] = {}
    try:
        stock["sku"]
    except KeyError as error:
        log.critical("an instance", exc_info=error)
        log.warning("of the block", exc_info=True)
        log.info("a tuple", exc_info=sys.exc_info())
        log.exception("given", exc_info=error)
    log.error("outside of any", exc_info=True)  # noqa: LOG014 - what then?
    log.info("none", exc_info=False)
    log.info("where", stack_info=True)

    class Odd(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return "odd" not in record.getMessage()

    odd = Odd()
    log.addFilter(odd)
    log.info("an odd one")
    log.removeFilter(odd)
    log.info("no odd filter")
    seen: list[str] = []
    other = logging.Handler()
    other.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(other)
    log.info("seen twice")
    assert seen == ["seen twice"]
    assert len(log.handlers) == 2
    log.handlers.remove(other)
    log.setLevel("ERROR")
    log.warning("too low", level=log.log_level)
    log.error("high enough", level=log.log_level)
    log.setLevel(logging.INFO)
    assert log.registered_handler in log.handlers
    assert log.registered_formatter is log.registered_handler.formatter
    log.info("named", service_is=log.service == log.name, is_enabled=log.isEnabledFor(10))


@pytest.mark.parametrize("session", [_keys_session, _logging_session])
def test_what_else_powertools_logger_takes_gives_the_same_lines(
    name: str, session: Callable[[Any], None]
) -> None:
    theirs = io.StringIO()
    powertools = PowertoolsLogger(
        service=f"{name}.powertools", stream=theirs, use_rfc3339=True, utc=True, team="a"
    )
    session(powertools)
    with recording({"LAMBDATRACE_LOGS_INJECTION": "false"}) as recorded:
        session(lambdatrace.logger(name, team="a"))
    ours, expected = lines(recorded), [json.loads(line) for line in theirs.getvalue().splitlines()]
    for document in [*ours, *expected]:
        document["service"] = document["service"].partition(".")[0]
        document.pop("timestamp")
        if "exception" in document:
            document.pop("location")
    assert ours == expected


def test_a_handler_may_be_decorated_in_each_of_powertools_ways(name: str) -> None:
    def handler(event: Any, context: Any) -> str:
        return "done"

    with recording() as recorded:
        log = lambdatrace.logger(name)
        for decorated in (
            log.inject_lambda_context(handler),
            log.inject_lambda_context()(handler),
            log.inject_lambda_context(lambda_handler=handler, log_event=True),
            log.inject_lambda_context(handler, True, "id", clear_state=True),
        ):
            assert invoke(decorated, {"id": 7}) == "done"
    assert [line.get("correlation_id") for line in lines(recorded)] == [None, 7]


def test_keys_of_one_thread_end_with_the_invocation(name: str) -> None:
    with recording() as recorded:
        log = lambdatrace.logger(name)
        log.thread_safe_append_keys(before=1)

        def handler(event: Any, _context: Any) -> None:
            log.thread_safe_append_keys(**event)
            log.info("x")

        invoke(handler, {"a": 1})
        invoke(handler, {"b": 1})
    seen = [{key for key in ("before", "a", "b") if key in line} for line in lines(recorded)]
    assert seen == [{"a"}, {"b"}]


def test_sampling_children_and_unknown_arguments_are_powertools(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with recording() as recorded:
        recorded.telemetry.guard = Guard()
        log = lambdatrace.logger(name, sampling_rate=1.0, use_rfc3339=True)
        child = lambdatrace.logger(name, child=True)
        log.refresh_sample_rate_calculation()
        child.debug("sampled")
        assert (log.log_level, child.log_level) == (logging.INFO, 0)
    (line,) = lines(recorded)
    assert (line["level"], line["sampling_rate"], line["service"]) == ("DEBUG", 1.0, name)
    assert child.name == f"{name}.test_logger"
    assert "use_rfc3339" not in line
    assert capsys.readouterr().err == (
        "[lambdatrace] lambdatrace.logger has no argument use_rfc3339: "
        'see "Logs" in the README (said once)\n'
    )


@pytest.mark.parametrize("rate", ["often", 2, -0.1])
def test_a_share_that_is_none_is_said(
    name: str, rate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with recording() as recorded:
        recorded.telemetry.guard = Guard()
        lambdatrace.logger(name, sampling_rate=rate).debug("not written")
    assert lines(recorded) == []
    assert capsys.readouterr().err == (
        f"[lambdatrace] lambdatrace.logger: sampling_rate is {rate!r}: "
        "expected a number from 0 to 1 (said once)\n"
    )


def test_the_built_in_correlation_paths_are_powertools() -> None:
    ours = {key: value for key, value in vars(correlation_paths).items() if key.isupper()}
    ours.pop("TYPE_CHECKING", None)
    ours.pop("_STEP", None)
    theirs = {key: value for key, value in vars(powertools_paths).items() if key.isupper()}
    assert ours == theirs


@pytest.mark.parametrize(
    ("path", "event", "expected"),
    [
        (correlation_paths.API_GATEWAY_REST, EVENT, "c-1"),
        (correlation_paths.APPLICATION_LOAD_BALANCER, EVENT, X_RAY),
        (correlation_paths.APPSYNC_RESOLVER, {"request": EVENT}, X_RAY),
        (correlation_paths.EVENT_BRIDGE, {"id": "e"}, "e"),
        ("Records[0].messageId", {"Records": [{"messageId": "m"}]}, "m"),
        ("Records[1].messageId", {"Records": [{"messageId": "m"}]}, None),
        ("a.b", {"a": None}, None),
        ("a..b", {"a": {"b": 1}}, None),
        ("a", [1], None),
    ],
)  # fmt: skip
def test_a_correlation_path_finds_what_is_there(path: str, event: Any, expected: Any) -> None:
    assert look_up(path, event) == expected


def test_keys_of_an_invocation_end_with_it_and_those_from_before_stay(name: str) -> None:
    with recording() as recorded:
        log = lambdatrace.logger(name, fixed=0)
        log.append_keys(lasting=1)

        def handler(event: Any, _context: Any) -> None:
            if event:
                log.append_keys(order=7)
            log.info("x")

        invoke(handler, {"first": 1}, "r-1")
        invoke(handler, {}, "r-2")
        log.clear_state()
        log.info("x")
    seen = [
        {key: line[key] for key in ("fixed", "lasting", "order") if key in line}
        for line in lines(recorded)
    ]
    assert seen == [
        {"fixed": 0, "lasting": 1, "order": 7},
        {"fixed": 0, "lasting": 1},
        {"fixed": 0},
    ]


def test_tasks_have_keys_of_their_own_and_threads_see_the_invocations(name: str) -> None:
    with recording() as recorded:
        log = lambdatrace.logger(name)

        async def task(number: int) -> None:
            log.append_keys(number=number)
            await asyncio.sleep(0)
            log.info("task", expected=number)

        async def both() -> None:
            await asyncio.gather(task(1), task(2))

        def handler(_event: Any, _context: Any) -> None:
            log.append_keys(order=7)
            thread = threading.Thread(target=log.info, args=("thread",))
            thread.start()
            thread.join()
            asyncio.run(both())
            log.info("handler")

        invoke(handler)
    thread, first, second, last = lines(recorded)
    assert thread["order"] == 7
    assert [first["number"], second["number"]] == [first["expected"], second["expected"]] == [1, 2]
    assert "number" not in last


def test_a_child_has_the_keys_and_the_output_of_its_parent(name: str) -> None:
    with recording() as recorded:
        log = lambdatrace.logger(name, team="a")
        child = log.child("child")
        child.append_keys(k=1)
        child.info("child")
        logging.getLogger(f"{name}.child").info("standard")
        log.info("parent")
    assert [(line["message"], line["team"], line["k"]) for line in lines(recorded)] == [
        ("child", "a", 1),
        ("standard", "a", 1),
        ("parent", "a", 1),
    ]


def test_asking_for_a_logger_again_gives_the_same_one_and_no_second_line(name: str) -> None:
    with recording() as recorded:
        lambdatrace.logger(name, a=1)
        lambdatrace.logger(name, b=2).info("once")
    (line,) = lines(recorded)
    assert (line["a"], line["b"]) == (1, 2)


def test_the_handler_of_the_root_does_not_write_the_line_again(name: str) -> None:
    seen: list[logging.LogRecord] = []

    class Root(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    root = Root()
    logging.getLogger().addHandler(root)
    try:
        with recording() as recorded:
            lambdatrace.logger(name).info("once")
    finally:
        logging.getLogger().removeHandler(root)
    assert seen == []
    assert len(lines(recorded)) == 1


@pytest.mark.parametrize(
    ("environment", "level", "written"),
    [
        ({}, None, ["INFO", "ERROR"]),
        ({"LAMBDATRACE_LOG_LEVEL": "debug"}, None, ["DEBUG", "INFO", "ERROR"]),
        ({"LAMBDATRACE_LOG_LEVEL": "debug"}, "ERROR", ["ERROR"]),
        ({"AWS_LAMBDA_LOG_LEVEL": "ERROR"}, "DEBUG", ["ERROR"]),
        ({"AWS_LAMBDA_LOG_LEVEL": "TRACE"}, None, ["INFO", "ERROR"]),
        ({"AWS_LAMBDA_LOG_LEVEL": "FATAL"}, logging.DEBUG, []),
    ],
)
def test_the_level_is_the_callers_or_the_settings_and_never_below_lambdas(
    name: str, environment: dict[str, str], level: str | int | None, written: list[str]
) -> None:
    with recording(environment) as recorded:
        log = lambdatrace.logger(name, level)
        for number in (logging.DEBUG, logging.INFO, logging.ERROR):
            log.log(number, "x")
        log.setLevel("CRITICAL")
        log.error("no more")
    assert [line["level"] for line in lines(recorded)] == written


def test_a_level_that_is_none_is_said_and_the_default_is_taken(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with recording() as recorded:
        recorded.telemetry.guard = Guard()
        assert lambdatrace.logger(name, "LOUD").getEffectiveLevel() == logging.INFO
    assert capsys.readouterr().err == (
        "[lambdatrace] lambdatrace.logger: level is 'LOUD': "
        "expected DEBUG, INFO, WARNING, ERROR, CRITICAL (said once)\n"
    )


def test_a_share_of_the_invocations_writes_debug_too(name: str) -> None:
    count = 400
    with recording({"LAMBDATRACE_LOG_SAMPLE_RATE": "0.25"}) as recorded:
        log = lambdatrace.logger(name)

        def handler(_event: Any, _context: Any) -> None:
            log.debug("1")
            log.child("child").debug("2")

        for number in range(count):
            invoke(handler, {}, str(UUID(int=number * 0x9E3779B97F4A7C15)))
    seen = lines(recorded)
    assert {line["sampling_rate"] for line in seen} == {0.25}
    of_parent = [line["function_request_id"] for line in seen if line["message"] == "1"]
    of_child = [line["function_request_id"] for line in seen if line["message"] == "2"]
    assert of_parent == of_child, "all loggers of an invocation agree"
    assert 0.15 * count < len(of_parent) < 0.35 * count


def test_the_event_is_written_where_asked_for_and_without_secrets(name: str) -> None:
    with recording() as recorded:
        log = lambdatrace.logger(name)
        event = {"id": 7, "headers": {"Authorization": "Bearer x"}}
        invoke(log.inject_lambda_context(lambda _event, _context: None), event)
        invoke(log.inject_lambda_context(log_event=True)(lambda _event, _context: None), event)
    (line,) = lines(recorded)
    assert line["message"] == {"id": 7, "headers": {"Authorization": "REDACTED"}}


def test_the_event_is_written_at_the_place_of_the_handler(name: str) -> None:
    with recording() as recorded:
        log = lambdatrace.logger(name)

        def handle(event: Any, context: Any) -> None:
            """Does nothing."""

        invoke(log.inject_lambda_context(log_event=True)(lambdatrace.span("inner")(handle)))
        log.inject_lambda_context(log_event=True)(max)("a", "b")
    handled, greatest = lines(recorded)
    assert handled["location"] == f"handle:{handle.__code__.co_firstlineno}"
    assert "location" not in greatest, "a function in C has none"


def test_secrets_in_keys_and_text_do_not_leave(name: str) -> None:
    with recording() as recorded:
        lambdatrace.logger(name).info("card %s", "4111111111111111", token="t")
    (line,) = lines(recorded)
    assert (line["message"], line["token"]) == ("card REDACTED", "REDACTED")


def test_the_event_of_a_method_is_not_its_object(name: str) -> None:
    output = io.StringIO()
    with recording({"LAMBDATRACE_ENABLED": "false"}), redirect_stdout(output):
        log = lambdatrace.logger(name)

        class Shop:
            @log.inject_lambda_context(correlation_id_path="id", log_event=True)
            def handle(self, event: Any, context: Any) -> int:
                return int(event["id"])

            @log.inject_lambda_context(correlation_id_path="id")
            async def __call__(self, event: Any, context: Any) -> int:
                log.info("called")
                return int(event["id"])

        assert Shop().handle({"id": 5}, LambdaContext()) == 5
        assert Shop().handle(context=LambdaContext(), event={"id": 6}) == 6
        assert asyncio.run(Shop()({"id": 7}, LambdaContext())) == 7
    documents = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [(line["message"], line["correlation_id"]) for line in documents] == [
        ({"id": 5}, 5),
        ({"id": 6}, 6),
        ("called", 7),
    ]
    assert {line["function_name"] for line in documents} == {"orders"}


def test_without_lambda_the_facts_come_from_the_context(name: str) -> None:
    output = io.StringIO()
    with recording({"LAMBDATRACE_ENABLED": "false"}), redirect_stdout(output):
        log = lambdatrace.logger(name)

        @log.inject_lambda_context
        async def handler(_event: Any, _context: Any) -> int:
            log.info("x")
            return 5

        assert asyncio.run(handler({}, LambdaContext())) == 5
    (line,) = map(json.loads, output.getvalue().splitlines())
    assert line["function_request_id"] == "11111111-2222-3333-4444-555555555555"
    assert line["function_memory_size"] == "128"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_no_value_makes_a_logging_call_fail_and_each_line_is_json(name: str) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with recording() as recorded:
        log = lambdatrace.logger(name)
        log.info("bad %d", "arguments")
        log.info(Unprintable(), a=Unprintable(), b={(1, 2): {3}}, c=float("nan"), d=loop)
        log.info("\udc80 é", name="reserved", args=1, exc_text="x")
        log.info("x", extra=dict.fromkeys(("message", "asctime"), "theirs"))
    strict = [json.loads(line, parse_constant=pytest.fail) for line in recorded.stdout.splitlines()]
    assert strict[0]["message"] == "bad %d ('arguments',)"
    assert strict[1]["a"] == "<tests.sdk.logs.test_logger.Unprintable>"
    assert strict[1]["b"] == {"(1, 2)": [3]}
    assert strict[1]["c"] == "nan"
    assert strict[2]["message"] == "\udc80 é"
    assert (strict[2]["name"], strict[2]["args"]) == ("reserved", 1)
    assert strict[3]["asctime"] == "theirs"


any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(any_value, st.dictionaries(st.text(), any_value))
def test_any_message_and_keys_give_one_line_of_json(message: Any, keys: dict[str, Any]) -> None:
    with recording() as recorded:
        lambdatrace.logger("test_any_message").info(message, extra=keys)
    (line,) = recorded.stdout.split("\n")[:-1]
    assert json.loads(line)["service"] == "test_any_message" or "service" in keys


def test_a_line_is_cut_by_its_bytes_of_utf_8(name: str) -> None:
    with recording() as recorded:
        lambdatrace.logger(name).info("paid", a="€" * 60_000, b="€" * 60_000)
    (line,) = lines(recorded)
    assert line["a"] == "€" * 60_000
    assert line["b"] == "€" * 23_321 + "…"  # 250,000 bytes in all


def test_a_timestamp_is_rfc_3339_in_utc() -> None:
    assert timestamp(1_700_000_000.0005) == "2023-11-14T22:13:20.000+00:00"
    assert timestamp(1_700_000_000.999) == "2023-11-14T22:13:20.999+00:00"

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import FunctionConfigurationError, LoggingConfig
from lambdatrace.harness.logging_config import application_level

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

AT = '"timestamp":"2026-01-01T00:00:00Z"'


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (f'{{"level":"DEBUG",{AT}}}', "DEBUG"),
        (f'{{"Level":"warn",{AT}}}\n', "WARN"),
        (f'{{"level":"WARNING",{AT}}}', "WARN"),
        (f'{{"level":"critical",{AT}}}', "FATAL"),
        (f'{{"level":"LOUD",{AT}}}', "INFO"),
        (f'{{"level":30,{AT}}}', "INFO"),
        ('{"level":"ERROR"}', "INFO"),
        ('{"level":"ERROR","timestamp":"yesterday"}', "INFO"),
        ('{"level":"ERROR","timestamp":"2026-01-01T00:00:00.123+01:00"}', "ERROR"),
        ("[ERROR] plain text\n", "INFO"),
        ("{}", "INFO"),
        ("[]", "INFO"),
    ],
)
def test_the_level_of_a_line_is_its_own_where_lambda_can_read_it(line: str, level: str) -> None:
    assert application_level(line) == level


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"log_format": "json"}, "LogFormat is 'json': expected JSON, Text"),
        (
            {"system_log_level": "WARN"},
            "SystemLogLevel is 'WARN': levels can be set with LogFormat JSON alone",
        ),
        (
            {"log_format": "JSON", "system_log_level": "ERROR"},
            "SystemLogLevel is 'ERROR': expected DEBUG, INFO, WARN",
        ),
        (
            {"log_format": "JSON", "application_log_level": "WARNING"},
            "ApplicationLogLevel is 'WARNING': expected TRACE, DEBUG, INFO, WARN, ERROR, FATAL",
        ),
        (
            {"log_group": "my group"},
            "log group 'my group': expected 1 to 512 letters, digits, or any of -_/.#",
        ),
    ],
)
def test_what_lambda_would_refuse_is_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(FunctionConfigurationError) as caught:
        LoggingConfig(**values)
    assert str(caught.value) == message


LOGGING = """
    import logging, os
    log = logging.getLogger()

    def handler(event, context):
        print("printed")
        log.debug("a detail")
        log.info("news", extra={"order": 7})
        log.error("a fault")
        return [os.environ["AWS_LAMBDA_LOG_FORMAT"], os.environ["AWS_LAMBDA_LOG_LEVEL"]]
"""


def records(harness: Harness) -> list[Any]:
    """The log, JSON where it is."""
    messages = [event.message for event in harness.logs("app")]
    return [json.loads(m) if m.startswith("{") else m for m in messages]


def names(found: list[Any]) -> list[str]:
    """Of platform records the type, of the function's the message."""
    return [r if isinstance(r, str) else r.get("type") or r["message"] for r in found]


def test_in_json_the_platforms_lines_are_records_and_levels_are_info_by_default(run: Run) -> None:
    with run(LOGGING, logging_config=LoggingConfig("JSON")) as harness:
        result = harness.invoke("app", log_type="Tail")
        harness.wait_frozen("app")
        found = records(harness)
    assert result.json() == ["JSON", "INFO"]
    assert names(found) == [
        "platform.initStart",
        "platform.start",
        "printed\n",
        "news",
        "a fault",
        "platform.report",
    ]
    start, news, report = found[1], found[3], found[-1]
    assert start["record"]["requestId"] == result.request_id
    assert (news["level"], news["order"], news["requestId"]) == ("INFO", 7, result.request_id)
    assert (report["record"]["status"], report["record"]["metrics"]["memorySizeMB"]) == (
        "success",
        128,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", report["time"])
    # The tail is taken before the filter.
    tail = [json.loads(x) if x[0] == "{" else x for x in result.log_tail.splitlines()]
    assert names(tail) == [
        "platform.start",
        "printed",
        "news",
        "a fault",
        "platform.runtimeDone",
        "platform.report",
    ]


def test_levels_filter_the_platforms_records_and_the_functions_lines(run: Run) -> None:
    config = LoggingConfig("JSON", application_log_level="ERROR", system_log_level="WARN")
    with run(LOGGING, logging_config=config) as harness:
        assert harness.invoke("app").json() == ["JSON", "ERROR"]
        harness.wait_frozen("app")
        assert names(records(harness)) == ["a fault"]
    config = LoggingConfig("JSON", application_log_level="DEBUG", system_log_level="DEBUG")
    with run(LOGGING, logging_config=config) as harness:
        harness.invoke("app")
        harness.wait_frozen("app")
        assert names(records(harness)) == [
            "platform.initStart",
            "platform.initRuntimeDone",
            "platform.initReport",
            "platform.start",
            "printed\n",
            "a detail",
            "news",
            "a fault",
            "platform.runtimeDone",
            "platform.report",
        ]


def test_a_failed_invoke_is_a_warning(run: Run) -> None:
    config = LoggingConfig("JSON", system_log_level="WARN")
    code = "import os\ndef handler(event, context): os._exit(1)\n"
    with run(code, logging_config=config) as harness:
        harness.invoke("app")
        harness.wait_frozen("app")
        found = records(harness)
    assert names(found) == ["platform.runtimeDone", "platform.report"]
    assert [record["record"]["errorType"] for record in found] == ["Runtime.ExitError"] * 2


def test_a_log_group_of_ones_own_has_streams_named_by_the_function(run: Run) -> None:
    code = (
        "import os\ndef handler(event, context): return os.environ['AWS_LAMBDA_LOG_GROUP_NAME']\n"
    )
    with run(code, logging_config=LoggingConfig(log_group="/shared/group")) as harness:
        assert harness.invoke("app").json() == "/shared/group"
        [environment] = harness.environments("app")
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/app\[\$LATEST\]\[[0-9a-f]{32}\]", environment.log_stream)


def test_a_record_of_many_lines_is_one_event(run: Run) -> None:
    code = r"""
        import logging
        def handler(event, context):
            logging.getLogger().error("first\nsecond")
            raise ValueError("why")
    """
    with run(code) as harness:
        harness.invoke("app")
        harness.wait_frozen("app")
        found = [event.message for event in harness.logs("app")]
    [record] = [message for message in found if "second" in message]
    [error] = [message for message in found if "Traceback" in message]
    assert record.startswith("[ERROR]\t")
    assert record.endswith("first\nsecond\n")
    assert error.startswith("[ERROR] ValueError: why\nTraceback (most recent call last):\n")


def test_a_report_of_a_traced_request_has_a_second_line_for_x_ray(run: Run) -> None:
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled="
    code = "def handler(event, context): pass\n"
    with run(code, tracing="Active") as harness:
        traced = harness.invoke("app", trace_header=header + "1").trace_header
        harness.invoke("app", trace_header=header + "0")
        harness.wait_frozen("app")
        found = [e.message for e in harness.logs("app") if e.message.startswith("REPORT")]
    assert [report.count("\n") for report in found] == [2, 1]
    parent = re.search("Parent=([0-9a-f]{16})", traced)  # the function's own segment
    assert parent
    assert found[0].endswith(
        "\t\nXRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\t"
        f"SegmentId: {parent[1]}\tSampled: true\t\n"
    )

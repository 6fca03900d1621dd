from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import EventInvokeConfig, Function, FunctionConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

QUEUE = "arn:aws:sqs:us-east-1:123456789012:failed"


def test_without_settings_an_event_is_tried_three_times_within_six_hours() -> None:
    assert EventInvokeConfig() == EventInvokeConfig(2, 21_600, "", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"maximum_retry_attempts": 3}, "maximum retry attempts 3: expected 0 to 2"),
        ({"maximum_retry_attempts": -1}, "maximum retry attempts -1: expected 0 to 2"),
        (
            {"maximum_event_age_in_seconds": 59},
            "maximum event age 59 s: expected 60 to 21600 s",
        ),
        (
            {"on_success": "arn:aws:s3:::bucket"},
            (
                "success destination 'arn:aws:s3:::bucket': expected an ARN of one of sqs, sns, "
                "lambda, events"
            ),
        ),
        (
            {"on_failure": "failed"},
            "failure destination 'failed': expected an ARN of one of sqs, sns, lambda, events, s3",
        ),
        (
            {"on_failure": f"{QUEUE}.fifo"},
            f"failure destination '{QUEUE}.fifo': Lambda does not send to FIFO ones",
        ),
    ],
)
def test_what_lambda_refuses_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FunctionConfigurationError) as caught:
        EventInvokeConfig(**settings)
    assert str(caught.value) == message


def test_a_bucket_can_be_told_of_failures_and_a_queue_of_all() -> None:
    config = EventInvokeConfig(0, 60, on_success=QUEUE, on_failure="arn:aws:s3:::bucket")
    assert (config.on_success, config.on_failure) == (QUEUE, "arn:aws:s3:::bucket")


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (
            "dead_letter_target_arn",
            "arn:aws:lambda:us-east-1:123456789012:function:f",
            (
                "dead-letter target of f 'arn:aws:lambda:us-east-1:123456789012:function:f': "
                "expected an ARN of one of sqs, sns"
            ),
        ),
        ("architecture", "riscv", "architecture 'riscv' of f: expected x86_64 or arm64"),
    ],
)
def test_a_function_with_a_setting_that_cannot_work_is_refused(
    tmp_path: Path, setting: str, value: str, message: str
) -> None:
    options: dict[str, Any] = {setting: value}
    with pytest.raises(FunctionConfigurationError) as caught:
        Function("f", "app.handler", code_dir=tmp_path, **options)
    assert str(caught.value) == message

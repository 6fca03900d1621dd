"""Configurations for asynchronous invokes, tags and policies."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import EventInvokeConfig, Function, Harness, VirtualClock
from tests.harness.lambda_api.conftest import lambda_client, refused, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Create = Callable[..., dict[str, Any]]

ARN = "arn:aws:lambda:us-east-1:123456789012:function:app"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:queue"
FIFO = f"{QUEUE}.fifo"
INVALID = "InvalidParameterValueException"


def test_an_event_invoke_config_is_put_changed_listed_and_deleted(api: Any, create: Create) -> None:
    create("app", "def handler(event, context): pass")
    put = api.put_function_event_invoke_config(
        FunctionName="app",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": QUEUE}},
    )
    assert isinstance(put.pop("LastModified"), datetime)
    put.pop("ResponseMetadata")
    assert put == {
        "FunctionArn": f"{ARN}:$LATEST",
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {"Destination": QUEUE}},
    }
    updated = api.update_function_event_invoke_config(
        FunctionName="app", MaximumEventAgeInSeconds=60
    )
    assert (updated["MaximumRetryAttempts"], updated["MaximumEventAgeInSeconds"]) == (0, 60)
    listed = api.list_function_event_invoke_configs(FunctionName="app")
    assert [c["FunctionArn"] for c in listed["FunctionEventInvokeConfigs"]] == [f"{ARN}:$LATEST"]
    api.delete_function_event_invoke_config(FunctionName="app")
    assert refused(api.get_function_event_invoke_config, FunctionName="app") == (
        404,
        "ResourceNotFoundException",
        f"The function {ARN}:$LATEST doesn't have an EventInvokeConfig",
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {},
            (
                400,
                INVALID,
                "You must specify at least one of error handling or destination setting.",
            ),
        ),
        (
            {"MaximumRetryAttempts": 3},
            (
                400,
                "ValidationException",
                (
                    "1 validation error detected: Value '3' at 'maximumRetryAttempts' failed to "
                    "satisfy constraint: Member must have value less than or equal to 2"
                ),
            ),
        ),
        (
            {"MaximumRetryAttempts": 1, "FunctionName": "none"},
            (404, "ResourceNotFoundException", "The function doesn't exist."),
        ),
        (
            {"DestinationConfig": {"OnSuccess": {"Destination": ARN}}},
            (400, INVALID, "You can't specify the function as a destination for itself."),
        ),
        (
            {"DestinationConfig": {"OnSuccess": {"Destination": "arn:aws:s3:::bucket"}}},
            (
                400,
                INVALID,
                (
                    "The provided destination config DestinationConfig(onSuccess="
                    "OnSuccess(destination=arn:aws:s3:::bucket), onFailure=null) is invalid."
                ),
            ),
        ),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": FIFO}}},
            (
                400,
                INVALID,
                (
                    "The provided destination config DestinationConfig(onSuccess=null, onFailure="
                    f"OnFailure(destination={FIFO})) is invalid."
                ),
            ),
        ),
        (
            {
                "DestinationConfig": {
                    "OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:123456789012:"}
                }
            },
            (
                400,
                INVALID,
                (
                    "success destination 'arn:aws:sqs:us-east-1:123456789012:': "
                    "expected an ARN of one of sqs, sns, lambda, events"
                ),
            ),
        ),
    ],
)
def test_a_config_lambda_would_refuse_is_refused_in_its_words(
    api: Any, create: Create, parameters: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    create("app", "def handler(event, context): pass")
    given = {"FunctionName": "app", **parameters}
    assert refused(api.put_function_event_invoke_config, **given) == expected


def test_the_config_of_what_was_named_decides_of_its_events(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): raise ValueError")
    given = EventInvokeConfig(maximum_retry_attempts=2)
    function = Function("app", "app.handler", code_dir=tmp_path, event_invoke_config=given)
    with Harness([function], clock=VirtualClock()) as harness:
        api = lambda_client(harness.endpoint_url)
        api.put_function_event_invoke_config(FunctionName="app", MaximumRetryAttempts=1)
        harness.invoke("app", 1, invocation_type="Event")
        assert harness.wait_events() == 1
        harness.advance(60)
        assert harness.wait_events() == 0
        assert len(harness.executions("app")) == 2
        api.publish_version(FunctionName="app")
        until(
            lambda: (
                api.get_function(FunctionName="app", Qualifier="1")["Configuration"]["State"]
                == "Active"
            )
        )
        api.put_function_event_invoke_config(
            FunctionName="app", Qualifier="1", MaximumRetryAttempts=0
        )
        harness.invoke("app:1", 1, invocation_type="Event")
        assert harness.wait_events() == 0
        assert [f.executed_version for f in harness.executions("app")] == [
            "$LATEST",
            "$LATEST",
            "1",
        ]


def test_tags_are_added_removed_and_told(api: Any, create: Create) -> None:
    create("app", "def handler(event, context): pass", Tags={"a": "1"})
    api.tag_resource(Resource=ARN, Tags={"b": "2", "c": "3"})
    api.untag_resource(Resource=ARN, TagKeys=["a", "c"])
    assert api.list_tags(Resource=ARN)["Tags"] == {"b": "2"}
    assert refused(api.tag_resource, Resource=f"{ARN}:1", Tags={"b": "2"}) == (
        400,
        INVALID,
        "Tags on function aliases and versions are not supported. Please specify a function ARN.",
    )
    many = {str(number): "" for number in range(51)}
    assert refused(api.tag_resource, Resource=ARN, Tags=many)[2] == (
        "Number of tags exceeds resource tag limit."
    )


def test_a_policy_is_made_of_statements_and_told_as_a_document(api: Any, create: Create) -> None:
    create("app", "def handler(event, context): pass")
    given = {
        "FunctionName": "app",
        "StatementId": "bucket",
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
        "SourceArn": "arn:aws:s3:::bucket",
        "SourceAccount": "123456789012",
    }
    added = json.loads(api.add_permission(**given)["Statement"])
    assert added == {
        "Sid": "bucket",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": ARN,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": "123456789012"},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
        },
    }
    assert json.loads(api.get_policy(FunctionName="app")["Policy"]) == {
        "Version": "2012-10-17",
        "Id": "default",
        "Statement": [added],
    }
    assert refused(api.add_permission, **given) == (
        409,
        "ResourceConflictException",
        (
            "The statement id (bucket) provided already exists. Please provide a new statement id, "
            "or remove the existing statement."
        ),
    )
    api.remove_permission(FunctionName="app", StatementId="bucket")
    assert refused(api.get_policy, FunctionName="app") == (
        404,
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    )

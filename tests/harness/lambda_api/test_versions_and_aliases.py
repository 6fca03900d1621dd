"""Published versions, and aliases that share invokes out between two of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import Function, Harness
from lambdatrace.harness.deployed_function import Alias
from tests.harness.lambda_api.conftest import (
    ROLE,
    RUNTIME,
    active_configuration,
    lambda_client,
    refused,
    until,
    zip_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Create = Callable[..., dict[str, Any]]

ARN = "arn:aws:lambda:us-east-1:123456789012:function:app"
SOURCE = """
    import os

    def handler(event, context):
        return ["{text}", context.function_version, context.invoked_function_arn,
                context.log_stream_name.partition("[")[2].partition("]")[0],
                os.environ["AWS_LAMBDA_FUNCTION_VERSION"]]
"""


def publish(api: Any, text: str) -> str:
    """Gives $LATEST other code and publishes it: the version's number, once it is Active."""
    api.update_function_code(FunctionName="app", ZipFile=zip_of(SOURCE.replace("{text}", text)))
    until(lambda: active_configuration(api, "app"))
    number: str = api.publish_version(FunctionName="app")["Version"]
    until(lambda: active_configuration(api, "app", number))
    return number


def test_a_version_keeps_its_code_and_runs_in_environments_of_its_own(
    api: Any, create: Create, harness: Harness
) -> None:
    create("app", SOURCE.replace("{text}", "one"), Description="first")
    first = api.publish_version(FunctionName="app", Description="published")
    until(lambda: active_configuration(api, "app", "1"))
    again = api.publish_version(FunctionName="app")
    assert publish(api, "two") == "2"
    answer = api.invoke(FunctionName="app", Qualifier="1")
    assert json.load(answer["Payload"]) == ["one", "1", f"{ARN}:1", "1", "1"]
    assert answer["ExecutedVersion"] == "1"
    assert json.load(api.invoke(FunctionName="app:2")["Payload"])[:2] == ["two", "2"]
    assert json.load(api.invoke(FunctionName="app")["Payload"])[1] == "$LATEST"
    assert (first["State"], first["Version"], first["FunctionArn"]) == ("Pending", "1", f"{ARN}:1")
    assert (first["Description"], "LastUpdateStatus" in first) == ("published", False)
    assert again["Version"] == "1"  # nothing had changed
    listed = api.list_versions_by_function(FunctionName="app")["Versions"]
    assert [(v["Version"], v["FunctionArn"]) for v in listed] == [
        ("$LATEST", f"{ARN}:$LATEST"),
        ("1", f"{ARN}:1"),
        ("2", f"{ARN}:2"),
    ]
    harness.wait_frozen("app:1")
    assert len(harness.environments("app:1")) == 1
    dimensions = [
        {d["Name"]: d["Value"] for d in datum["Dimensions"]}
        for datum in harness.metrics("app")
        if datum["MetricName"] == "Invocations"
    ]
    assert {"FunctionName": "app", "Resource": "app:2"} in dimensions


def test_a_version_of_a_local_folder_keeps_a_copy_of_it(api: Any, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): return 'old'")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "big").touch()
    api.create_function(
        FunctionName="app",
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"S3Bucket": "hot-reload", "S3Key": str(tmp_path)},
        Publish=True,
    )
    until(lambda: active_configuration(api, "app", "1"))
    (tmp_path / "app.py").write_text("def handler(event, context): return 'edited'")
    assert json.load(api.invoke(FunctionName="app")["Payload"]) == "edited"
    assert json.load(api.invoke(FunctionName="app", Qualifier="1")["Payload"]) == "old"
    location = api.get_function(FunctionName="app", Qualifier="1")["Code"]["Location"]
    copied = Path(location.removeprefix("file://"))
    assert [path.name for path in copied.iterdir() if path.name != "__pycache__"] == ["app.py"]
    api.delete_function(FunctionName="app")
    until(lambda: not copied.exists())
    assert (tmp_path / "app.py").exists()


def test_an_alias_is_followed_and_names_the_version_that_ran(api: Any, create: Create) -> None:
    create("app", SOURCE.replace("{text}", "one"))
    publish(api, "two")
    publish(api, "three")
    made = api.create_alias(
        FunctionName="app", Name="live", FunctionVersion="1", Description="what users get"
    )
    revision = made.pop("RevisionId")
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 201
    assert made == {
        "AliasArn": f"{ARN}:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "what users get",
    }
    answer = api.invoke(FunctionName="app", Qualifier="live")
    assert json.load(answer["Payload"])[:3] == ["two", "1", f"{ARN}:live"]
    assert answer["ExecutedVersion"] == "1"
    found = api.get_function_configuration(FunctionName="app", Qualifier="live")
    assert (found["FunctionArn"], found["Version"]) == (f"{ARN}:live", "1")
    # A share of all of them, so that it is sure where an invoke goes.
    updated = api.update_alias(
        FunctionName="app",
        Name="live",
        RevisionId=revision,
        RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}},
    )
    assert updated["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 1.0}}
    assert api.invoke(FunctionName="app", Qualifier="live")["ExecutedVersion"] == "2"
    assert refused(api.update_alias, FunctionName="app", Name="live", RevisionId=revision) == (
        412,
        "PreconditionFailedException",
        (
            "The Revision Id provided does not match the latest Revision Id. Call the "
            "GetFunction/GetAlias API to retrieve the latest Revision Id"
        ),
    )
    assert refused(api.delete_function, FunctionName="app", Qualifier="2") == (
        409,
        "ResourceConflictException",
        "The following alias(es) reference this version: [live]",
    )
    assert [a["Name"] for a in api.list_aliases(FunctionName="app")["Aliases"]] == ["live"]
    assert api.list_aliases(FunctionName="app", FunctionVersion="2")["Aliases"] == []
    api.delete_alias(FunctionName="app", Name="live")
    assert refused(api.invoke, FunctionName="app", Qualifier="live") == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {ARN}:live",
    )
    api.delete_function(FunctionName="app", Qualifier="2")
    assert refused(api.get_function, FunctionName="app", Qualifier="2")[2] == (
        f"Function not found: {ARN}:2"
    )


@pytest.mark.parametrize(("drawn", "version"), [(0.0, "2"), (0.29, "2"), (0.3, "1"), (0.99, "1")])
def test_an_aliass_weight_is_the_share_of_the_second_version(drawn: float, version: str) -> None:
    assert Alias("live", "1", weights={"2": 0.3}).choose(lambda: drawn) == version


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"Name": "live"},
            (409, "ResourceConflictException", f"Alias already exists: {ARN}:live"),
        ),
        (
            {"FunctionVersion": "9"},
            (404, "ResourceNotFoundException", f"Function not found: {ARN}:9"),
        ),
        (
            {"Name": "12"},
            (
                400,
                "ValidationException",
                (
                    "1 validation error detected: Value '12' at 'name' failed to satisfy "
                    "constraint: "
                    "Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)"
                ),
            ),
        ),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}},
            (
                400,
                "InvalidParameterValueException",
                (
                    "Invalid function version 1. Function version 1 is already included in routing "
                    "configuration."
                ),
            ),
        ),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.5, "3": 0.1}}},
            (
                400,
                "InvalidParameterValueException",
                "Number of items in AdditionalVersionWeights cannot be greater than 1",
            ),
        ),
        (
            {
                "FunctionVersion": "$LATEST",
                "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}},
            },
            (
                400,
                "InvalidParameterValueException",
                "$LATEST is not supported for an alias pointing to more than 1 version",
            ),
        ),
    ],
)
def test_an_alias_lambda_would_refuse_is_refused_in_its_words(
    api: Any, create: Create, parameters: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    create("app", "def handler(event, context): pass")
    api.publish_version(FunctionName="app")
    api.create_alias(FunctionName="app", Name="live", FunctionVersion="1")
    given = {"FunctionName": "app", "Name": "new", "FunctionVersion": "1", **parameters}
    assert refused(api.create_alias, **given) == expected


SNAP_START = {"ApplyOn": "PublishedVersions"}


def snapped(folder: Path, source: str, **options: Any) -> Function:
    """A function told that it runs on a Python that Lambda takes snapshots of."""
    (folder / "app.py").write_text(source)
    given = {"code_dir": folder, "runtime": "python3.12", "python": sys.executable, **options}
    return Function("app", "app.handler", **given)


def test_a_version_whose_init_fails_before_its_snapshot_is_failed(tmp_path: Path) -> None:
    with Harness([snapped(tmp_path, "raise ValueError('no')")]) as harness:
        api = lambda_client(harness.endpoint_url)
        api.update_function_configuration(FunctionName="app", SnapStart=SNAP_START)
        until(lambda: active_configuration(api, "app"))
        api.publish_version(FunctionName="app")

        def pending_no_more() -> Any:
            found = api.get_function_configuration(FunctionName="app", Qualifier="1")
            return None if found["State"] == "Pending" else found

        found = until(pending_no_more)
        assert (found["State"], found["StateReasonCode"], found["StateReason"]) == (
            "Failed",
            "FunctionError",
            "The function could not be initialized: ValueError: no",
        )
        assert refused(api.invoke, FunctionName="app", Qualifier="1") == (
            409,
            "ResourceConflictException",
            (
                "The operation cannot be performed at this time. The function is currently in the "
                "following state: Failed"
            ),
        )


def test_what_has_a_snapshot_has_no_provisioned_concurrency_and_no_large_tmp(
    tmp_path: Path,
) -> None:
    function = snapped(tmp_path, "def handler(event, context): pass", ephemeral_storage_mb=1024)
    with Harness([function]) as harness:
        api = lambda_client(harness.endpoint_url)
        update = api.update_function_configuration
        assert refused(update, FunctionName="app", SnapStart=SNAP_START)[1:] == (
            "InvalidParameterValueException",
            (
                "Ephemeral storage greater than 512 MB is not supported for SnapStart enabled "
                "functions."
            ),
        )
        update(FunctionName="app", SnapStart=SNAP_START, EphemeralStorage={"Size": 512})
        until(lambda: active_configuration(api, "app"))
        api.publish_version(FunctionName="app")
        assert refused(
            api.put_provisioned_concurrency_config,
            FunctionName="app",
            Qualifier="1",
            ProvisionedConcurrentExecutions=1,
        ) == (
            400,
            "InvalidParameterValueException",
            "Provisioned Concurrency is not supported for SnapStart enabled functions.",
        )
        until(lambda: active_configuration(api, "app", "1"))
        assert json.load(api.invoke(FunctionName="app", Qualifier="1")["Payload"]) is None

"""Functions made, read, changed and deleted by unmodified clients."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lambdatrace.harness import Function, Harness
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
    from pathlib import Path

    import pytest

ARN = "arn:aws:lambda:us-east-1:123456789012:function:app"
SOURCE = """
    import os

    def handler(event, context):
        known = [context.function_version, context.memory_limit_in_mb]
        return [event, os.environ.get("COLOUR"), *known]
"""


def invoke(api: Any, name: str = "app", **parameters: Any) -> Any:
    return json.load(api.invoke(FunctionName=name, **parameters)["Payload"])


def test_a_function_made_of_a_zip_file_is_pending_then_active_and_runs(api: Any) -> None:
    package = zip_of(SOURCE)
    made = api.create_function(
        FunctionName="app",
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": package},
        Description="an example",
        Timeout=7,
        MemorySize=256,
        Environment={"Variables": {"COLOUR": "red"}},
        TracingConfig={"Mode": "Active"},
        Tags={"team": "blue"},
    )
    headers = made.pop("ResponseMetadata")
    assert headers["HTTPStatusCode"] == 201
    assert re.fullmatch(r"[0-9a-f-]{36}", made.pop("RevisionId"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", made.pop("LastModified"))
    assert made == {
        "FunctionName": "app",
        "FunctionArn": ARN,
        "Runtime": RUNTIME,
        "Role": ROLE,
        "Handler": "app.handler",
        "CodeSize": len(package),
        "CodeSha256": base64.b64encode(hashlib.sha256(package).digest()).decode(),
        "Description": "an example",
        "Timeout": 7,
        "MemorySize": 256,
        "Version": "$LATEST",
        "Environment": {"Variables": {"COLOUR": "red"}},
        "TracingConfig": {"Mode": "Active"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/app"},
    }
    api.get_waiter("function_active_v2").wait(FunctionName="app")
    assert invoke(api, Payload=b"1") == [1, "red", "$LATEST", "256"]
    found = api.get_function(FunctionName=ARN)
    assert (found["Configuration"]["State"], found["Tags"]) == ("Active", {"team": "blue"})
    assert found["Configuration"]["LastUpdateStatus"] == "Successful"
    assert "Concurrency" not in found


def test_a_local_folder_runs_where_it_is_and_is_deployed_again_when_a_file_changes(
    api: Any, harness: Harness, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): return __file__")
    api.create_function(
        FunctionName="app",
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"S3Bucket": "hot-reload", "S3Key": str(tmp_path)},
    )
    before = until(lambda: active_configuration(api, "app"))
    assert invoke(api) in ("/var/task/app.py", str(tmp_path / "app.py"))  # as the machine allows
    (tmp_path / "app.py").write_text("def handler(event, context): return 'edited since'")
    until(lambda: invoke(api) == "edited since")
    after = until(lambda: active_configuration(api, "app"))
    assert before["CodeSha256"] != after["CodeSha256"]
    harness.wait_frozen("app")
    assert len(harness.environments("app")) == 1
    (tmp_path / "app.py").write_text("def handler(event, context): return 'and before'")
    api.update_function_configuration(FunctionName="app", Timeout=4)
    until(lambda: active_configuration(api, "app"))
    assert invoke(api) == "and before"


def test_an_update_in_progress_lets_invokes_through_and_refuses_changes(
    api: Any, create: Callable[..., dict[str, Any]], harness: Harness
) -> None:
    create("app", "def handler(event, context): return 'old'")
    assert invoke(api) == "old"
    package = base64.b64encode(zip_of("def handler(event, context): return 'new'")).decode()
    # Sent together, so that the second comes while the first is being deployed.
    first, second, invoked = pipelined(
        harness,
        ("PUT", "/2015-03-31/functions/app/code", {"ZipFile": package}),
        ("PUT", "/2015-03-31/functions/app/configuration", {"Timeout": 9}),
        ("POST", "/2015-03-31/functions/app/invocations", 1),
    )
    assert (first["LastUpdateStatus"], first["State"]) == ("InProgress", "Active")
    assert first["LastUpdateStatusReasonCode"] == "Creating"
    assert second == {
        "Type": "User",
        "message": "The operation cannot be performed at this time. An update is in progress for "
        f"resource: {ARN}",
    }
    assert invoked == "old"
    api.get_waiter("function_updated_v2").wait(FunctionName="app")
    assert invoke(api) == "new"
    harness.wait_frozen("app")
    assert len(harness.environments("app")) == 1


def test_what_runs_when_a_function_is_updated_or_deleted_keeps_its_code_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        import os, socket

        def handler(event, context):
            socket.create_connection(("127.0.0.1", event)).recv(1)
            return os.path.exists(__file__)
    """

    def unpacked() -> list[Path]:
        return list(tmp_path.glob("lambdatrace-harness-*/*/app-code-*"))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    package = zip_of(source)
    with (
        Harness() as harness,
        ThreadPoolExecutor() as pool,
        socket.create_server(("127.0.0.1", 0)) as held,
    ):
        held.settimeout(20)
        port = held.getsockname()[1]
        api = lambda_client(harness.endpoint_url)
        api.create_function(
            FunctionName="app",
            Runtime=RUNTIME,
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": package},
            Timeout=60,
        )
        api.get_waiter("function_active_v2").wait(FunctionName="app")
        first = pool.submit(harness.invoke, "app", port)
        until_updated, _ = held.accept()
        api.update_function_code(FunctionName="app", ZipFile=package)
        api.get_waiter("function_updated_v2").wait(FunctionName="app")
        second = pool.submit(harness.invoke, "app", port)
        until_deleted, _ = held.accept()
        api.delete_function(FunctionName="app")
        running = len(unpacked())
        until_updated.close()
        until_deleted.close()
        assert [each.result(20).json() for each in (first, second)] == [True, True]
        until(lambda: unpacked() == [])
    assert running == 2


def test_a_pending_function_cannot_be_invoked(harness: Harness) -> None:
    package = base64.b64encode(zip_of("def handler(event, context): pass")).decode()
    made, refusal = pipelined(
        harness,
        (
            "POST",
            "/2015-03-31/functions",
            {
                "FunctionName": "app",
                "Runtime": RUNTIME,
                "Role": ROLE,
                "Handler": "app.handler",
                "Code": {"ZipFile": package},
            },
        ),
        ("POST", "/2015-03-31/functions/app/invocations", 1),
    )
    assert made["State"] == "Pending"
    assert refusal == {
        "Type": "User",
        "message": "The operation cannot be performed at this time. The function is currently in "
        "the following state: Pending",
    }


def pipelined(harness: Harness, *requests: tuple[str, str, Any]) -> list[Any]:
    """The JSON answers to requests sent in one go on one connection."""
    host, port = harness.endpoint_url.removeprefix("http://").split(":")
    sent = b""
    for method, path, document in requests:
        body = json.dumps(document).encode()
        sent += b"%s %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (
            method.encode(),
            path.encode(),
            len(body),
            body,
        )
    answers: list[Any] = []
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(sent)
        stream = connection.makefile("rb")
        for _ in requests:
            length = 0
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            answers.append(json.loads(stream.read(length)))
    return answers


def test_functions_of_the_harness_and_of_the_api_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): return 'given'")
    given = Function("app", "app.handler", code_dir=tmp_path, timeout_s=0.5, runtime=RUNTIME)
    with Harness([given]) as harness:
        api = lambda_client(harness.endpoint_url)
        [listed] = api.list_functions()["Functions"]
        assert (listed["FunctionName"], listed["Timeout"], listed["Runtime"]) == (
            "app",
            1,
            RUNTIME,
        )
        assert "State" not in listed
        api.update_function_configuration(FunctionName="app", MemorySize=300)
        assert until(lambda: active_configuration(api, "app"))["MemorySize"] == 300
        assert harness.invoke("app").json() == "given"
        api.delete_function(FunctionName="app")
        assert refused(api.invoke, FunctionName="app") == (
            404,
            "ResourceNotFoundException",
            f"Function not found: {ARN}",
        )
        assert api.list_functions()["Functions"] == []


def test_ephemeral_storage_is_the_size_of_tmp_from_the_next_environment_on(
    api: Any, create: Callable[..., dict[str, Any]], harness: Harness
) -> None:
    source = """
        import os

        def handler(event, context):
            return os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize // 2**20
    """
    made = create("app", source, EphemeralStorage={"Size": 1024})
    sizes = [made["EphemeralStorage"]["Size"], invoke(api)]
    api.update_function_configuration(FunctionName="app", EphemeralStorage={"Size": 2000})
    updated = until(lambda: active_configuration(api, "app"))
    sizes += [updated["EphemeralStorage"]["Size"], invoke(api)]
    if harness.unenforced:
        sizes[1], sizes[3] = 1024, 2000  # a folder of the machine's disk
    assert sizes == [1024, 1024, 2000, 2000]


def test_lists_come_in_pages(api: Any, create: Callable[..., dict[str, Any]]) -> None:
    for name in ("a", "b", "c"):
        create(name, "def handler(event, context): pass")
    first = api.list_functions(MaxItems=2)
    rest = api.list_functions(MaxItems=2, Marker=first["NextMarker"])
    assert [f["FunctionName"] for f in first["Functions"]] == ["a", "b"]
    assert [f["FunctionName"] for f in rest["Functions"]] == ["c"]
    assert "NextMarker" not in rest


def test_a_function_with_a_capacity_provider_runs_on_managed_instances(api: Any) -> None:
    source = """
        import os

        def handler(event, context):
            names = ("AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_MAX_CONCURRENCY")
            return [os.environ[name] for name in names]
    """
    provider = "arn:aws:lambda:us-east-1:123456789012:capacity-provider:mine"
    managed = {"CapacityProviderArn": provider, "PerExecutionEnvironmentMaxConcurrency": 2}
    config = {"LambdaManagedInstancesCapacityProviderConfig": managed}
    made = api.create_function(
        FunctionName="app",
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": zip_of(source)},
        CapacityProviderConfig=config,
    )
    assert made["CapacityProviderConfig"] == config
    until(lambda: active_configuration(api, "app"))
    assert invoke(api) == ["lambda-managed-instances", "2"]
    version = api.publish_version(FunctionName="app")["Version"]
    until(lambda: active_configuration(api, "app", version))
    assert invoke(api, Qualifier=version) == ["lambda-managed-instances", "2"]
    status, code, _ = refused(
        api.put_provisioned_concurrency_config,
        FunctionName="app",
        Qualifier=version,
        ProvisionedConcurrentExecutions=1,
    )
    assert (status, code) == (400, "InvalidParameterValueException")


def test_a_function_with_a_tenancy_config_is_invoked_for_tenants(api: Any) -> None:
    config = {"TenantIsolationMode": "PER_TENANT"}
    made = api.create_function(
        FunctionName="app",
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": zip_of("def handler(event, context): return context.tenant_id")},
        TenancyConfig=config,
    )
    assert made["TenancyConfig"] == config
    until(lambda: active_configuration(api, "app"))
    assert invoke(api, TenantId="blue") == "blue"
    status, code, _ = refused(api.invoke, FunctionName="app")
    assert (status, code) == (400, "InvalidParameterValueException")


def test_a_function_of_managed_instances_has_a_capacity_provider(tmp_path: Path) -> None:
    given = Function(
        "app",
        "app.handler",
        code_dir=tmp_path,
        initialization_type="lambda-managed-instances",
        max_concurrency=3,
    )
    (tmp_path / "app.py").write_text("def handler(event, context): return 1")
    with Harness([given]) as harness:
        found = lambda_client(harness.endpoint_url).get_function_configuration(FunctionName="app")
    assert found["CapacityProviderConfig"] == {
        "LambdaManagedInstancesCapacityProviderConfig": {
            "CapacityProviderArn": (
                "arn:aws:lambda:us-east-1:123456789012:capacity-provider:lambdatrace-local"
            ),
            "PerExecutionEnvironmentMaxConcurrency": 3,
        }
    }


def test_a_function_of_another_account_is_not_found(
    api: Any, create: Callable[..., dict[str, Any]]
) -> None:
    create("app", "def handler(event, context): return 1")
    arn = "arn:aws:lambda:us-east-1:999999999999:function:app"
    for name in (arn, "999999999999:function:app", "999999999999:app"):
        for call in (api.invoke, api.get_function):
            assert refused(call, FunctionName=name) == (
                404,
                "ResourceNotFoundException",
                f"Function not found: {arn}",
            )
    own = "arn:aws:lambda:us-east-1:123456789012:function:app"
    assert api.invoke(FunctionName=own)["Payload"].read() == b"1"


def test_a_bad_name_of_a_variable_is_told_of_the_map_without_its_values(api: Any) -> None:
    told = refused(
        api.create_function,
        FunctionName="app",
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": zip_of("")},
        Environment={"Variables": {"1A": "secret"}},
    )
    said = (
        "1 validation error detected: Value at 'environment.variables' failed to satisfy "
        "constraint: Map keys must satisfy constraint: [Member must satisfy regular expression "
        "pattern: [a-zA-Z]([a-zA-Z0-9_])+]"
    )
    assert told == (400, "ValidationException", said)

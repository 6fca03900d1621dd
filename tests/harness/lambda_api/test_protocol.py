"""Requests that are wrong: refused in Lambda's words, each with one answer."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness.lambda_api.api import OPERATIONS
from lambdatrace.harness.lambda_api.service_model import operations
from tests.harness.lambda_api.conftest import ROLE, RUNTIME, refused, zip_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness import Harness

INVALID = "InvalidParameterValueException"
ONE = "1 validation error detected: "


@pytest.mark.parametrize(
    ("parameters", "status", "code", "message"),
    [
        (
            {"Role": "x", "Timeout": 0},
            400,
            "ValidationException",
            (
                "2 validation errors detected: Value 'x' at 'role' failed to satisfy constraint: "
                r"Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:"
                r"role/?[a-zA-Z_0-9+=,.@\-_/]+; Value '0' at 'timeout' failed to "
                r"satisfy constraint: "
                "Member must have value greater than or equal to 1"
            ),
        ),
        (
            {"Timeout": 901},
            400,
            "ValidationException",
            (
                f"{ONE}Value '901' at 'timeout' failed to satisfy constraint: Member "
                f"must have value "
                "less than or equal to 900"
            ),
        ),
        (
            {"Role": None},
            400,
            "ValidationException",
            f"{ONE}Value null at 'role' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"EphemeralStorage": {"Size": 1}},
            400,
            "ValidationException",
            (
                f"{ONE}Value '1' at 'ephemeralStorage.size' failed to satisfy "
                f"constraint: Member must "
                "have value greater than or equal to 512"
            ),
        ),
        (
            {"EphemeralStorage": {"Size": 10241}},
            400,
            "ValidationException",
            (
                f"{ONE}Value '10241' at 'ephemeralStorage.size' failed to satisfy "
                f"constraint: Member must "
                "have value less than or equal to 10240"
            ),
        ),
        (
            {"Architectures": ["x86_64", "arm64"]},
            400,
            "ValidationException",
            (
                f"{ONE}Value '[x86_64, arm64]' at 'architectures' failed to satisfy "
                f"constraint: Member "
                "must have length less than or equal to 1"
            ),
        ),
        (
            {"Timeout": "soon"},
            400,
            "SerializationException",
            "STRING_VALUE can not be converted to an Integer",
        ),
        (
            {"Runtime": "nodejs22.x"},
            400,
            INVALID,
            (
                "Value nodejs22.x at 'runtime' failed to satisfy constraint: Member "
                "must satisfy enum "
                "value set: [python3.10, python3.11, python3.12, python3.13, "
                "python3.14] or be a valid "
                "ARN"
            ),
        ),
        (
            {"Code": {"ZipFile": b"no zip"}},
            400,
            INVALID,
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
        (
            {"Code": {"S3Bucket": "other", "S3Key": "key"}},
            400,
            INVALID,
            (
                "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error "
                "Message: The "
                "specified bucket does not exist"
            ),
        ),
        (
            {"Environment": {"Variables": {"AWS_REGION": "x"}}},
            400,
            INVALID,
            (
                "Lambda was unable to configure your environment variables because the environment "
                "variables you have provided contains reserved keys that are currently "
                "not supported "
                "for modification. Reserved keys used in this request: AWS_REGION"
            ),
        ),
        (
            {"Layers": ["arn:aws:lambda:us-east-1:123456789012:layer:x:1"]},
            400,
            INVALID,
            "Layer version arn:aws:lambda:us-east-1:123456789012:layer:x:1 does not exist.",
        ),
        (
            {"FunctionName": "arn:aws:lambda:eu-west-1:123456789012:function:app"},
            404,
            "ResourceNotFoundException",
            "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
        ),
        (
            {"Runtime": "python3.11", "SnapStart": {"ApplyOn": "PublishedVersions"}},
            400,
            INVALID,
            "python3.11 is not supported for SnapStart enabled functions.",
        ),
        (
            {
                "Runtime": "python3.12",
                "EphemeralStorage": {"Size": 513},
                "SnapStart": {"ApplyOn": "PublishedVersions"},
            },
            400,
            INVALID,
            (
                "Ephemeral storage greater than 512 MB is not supported for SnapStart enabled "
                "functions."
            ),
        ),
        (
            {"Environment": {"Variables": {"A": "x\ud800"}}},
            400,
            "SerializationException",
            "Lone surrogate \\ud800 in a string",
        ),
        (
            {"FunctionName": "there"},
            409,
            "ResourceConflictException",
            "Function already exist: there",
        ),
    ],
)
def test_a_function_lambda_would_refuse_is_refused_in_its_words(
    api: Any,
    create: Callable[..., dict[str, Any]],
    parameters: dict[str, Any],
    status: int,
    code: str,
    message: str,
) -> None:
    source = "def handler(event, context): pass"
    if parameters.get("FunctionName") == "there":
        create("there", source)
    given = {
        "FunctionName": "app",
        "Runtime": RUNTIME,
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": zip_of(source)},
        **parameters,
    }
    given = {name: value for name, value in given.items() if value is not None}
    assert refused(api.create_function, **given) == (status, code, message)


def test_no_request_is_answered_with_an_error_of_the_server(
    api: Any, create: Callable[..., dict[str, Any]], harness: Harness
) -> None:
    create("app", "def handler(event, context): return 1")
    drawn = random.Random(4)
    values: list[Any] = [None, 1, -1, 1.5, "x", "app", "$LATEST", [], {}, [1], {"a": 1}, True]
    queries = ["", "Qualifier=$LATEST", "Qualifier=1", "MaxItems=x", "Marker=LTE=", "tagKeys=a"]
    named = ["app", "x", "app:1", "%00", "arn%3Aaws", "a%2Fb"]
    names = sorted(name for name in OPERATIONS if not name.startswith("Delete"))
    connection = http.client.HTTPConnection(harness.endpoint_url.removeprefix("http://"))
    for _ in range(600):
        model = operations()[drawn.choice(names)].model
        uri = re.sub(r"\{\w+\}", lambda _: drawn.choice(named), model.http["requestUri"])
        uri += ("&" if "?" in uri else "?") + drawn.choice(queries)
        members = model.input_shape.members if model.input_shape else {}
        body = json.dumps({m: drawn.choice(values) for m in members if drawn.random() < 0.5})
        connection.request(model.http["method"], uri, drawn.choice([body] * 9 + [body[1:]]))
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status < 500, (model.name, uri, body, told)
    connection.close()
    assert api.list_functions()["Functions"][0]["FunctionName"] == "app"


def test_the_aws_cli_makes_and_invokes_a_function(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "app.zip").write_bytes(zip_of("def handler(event, context): return [event]"))

    def aws(*arguments: str) -> Any:
        completed = subprocess.run(
            [
                str(Path(sys.executable).with_name("aws")),
                "lambda",
                *arguments,
                *("--endpoint-url", harness.endpoint_url),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )
        assert completed.returncode == 0, completed.stderr
        return json.loads(completed.stdout or "null")

    made = aws(
        "create-function",
        *("--function-name", "app", "--runtime", RUNTIME, "--role", ROLE),
        *("--handler", "app.handler", "--zip-file", "fileb://app.zip", "--publish"),
    )
    assert (made["State"], made["Version"]) == ("Pending", "1")
    aws("wait", "published-version-active", "--function-name", "app", "--qualifier", "1")
    told = aws("invoke", "--function-name", "app:1", "--payload", "7", "out.json")
    assert told["ExecutedVersion"] == "1"
    assert (tmp_path / "out.json").read_text() == "[7]"


def test_a_function_deleted_while_it_is_made_is_gone_when_it_is_deployed(api: Any) -> None:
    for _ in range(2):
        api.create_function(
            FunctionName="app",
            Runtime=RUNTIME,
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": zip_of("def handler(event, context): pass")},
        )
        api.delete_function(FunctionName="app")
    assert api.list_functions()["Functions"] == []
    assert refused(api.invoke, FunctionName="app")[0] == 404

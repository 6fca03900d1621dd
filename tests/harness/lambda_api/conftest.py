from __future__ import annotations

import io
import sys
import textwrap
import time
import zipfile
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lambdatrace.harness import Harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNTIME = "python{}.{}".format(*sys.version_info)  # that is here
ROLE = "arn:aws:iam::123456789012:role/service-role/made-up"


def zip_of(source: str) -> bytes:
    """A deployment package with one module, app.py."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        opened.writestr("app.py", textwrap.dedent(source))
    return content.getvalue()


def lambda_client(endpoint_url: str) -> Any:
    """boto3's Lambda client, as it is, without its own retries and checks."""
    return boto3.client(
        "lambda",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}, proxies={}, parameter_validation=False),
    )


def until(is_so: Callable[[], Any]) -> Any:
    """What `is_so` gives once it is true; fails after 20 s."""
    deadline = time.monotonic() + 20
    while not (found := is_so()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def refused(call: Callable[..., Any], **parameters: Any) -> tuple[int, str, str]:
    """Status, code and message of a call that is refused."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response: Any = caught.value.response
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    return status, response["Error"]["Code"], response["Error"]["Message"]


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as running:
        yield running


@pytest.fixture
def api(harness: Harness) -> Any:
    return lambda_client(harness.endpoint_url)


@pytest.fixture
def create(api: Any) -> Callable[..., dict[str, Any]]:
    """`create("app", source, Timeout=5)`: a function made and waited for; its configuration."""

    def create_function(name: str, source: str, **parameters: Any) -> dict[str, Any]:
        api.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": zip_of(source)},
            **parameters,
        )
        active = until(lambda: active_configuration(api, name))
        assert isinstance(active, dict)
        return active

    return create_function


def active_configuration(api: Any, name: str, qualifier: str = "$LATEST") -> dict[str, Any] | None:
    """A version's configuration if it is Active and not being updated."""
    found: dict[str, Any] = api.get_function_configuration(FunctionName=name, Qualifier=qualifier)
    assert found["State"] != "Failed", found
    is_done = found["State"] == "Active" and found.get("LastUpdateStatus") != "InProgress"
    return found if is_done else None

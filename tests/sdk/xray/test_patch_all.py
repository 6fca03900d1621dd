from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sdk.patches.conftest import WebServer

# In a process of its own: what the X-Ray SDK patches stays patched.
PROGRAM = """
import json, sys

import lambdatrace
import lambdatrace.testing
from lambdatrace.post_import import arm_doors

url, order = sys.argv[1:]
with lambdatrace.testing.recording() as recorded:
    arm_doors(recorded.telemetry.guard)
    if order == "libraries first":
        import botocore.session, requests, urllib3
    from aws_xray_sdk.core import patch, patch_all, xray_recorder
    patch_all(double_patch=order == "httplib too")
    import botocore.session, requests, urllib3, urllib.request

    @lambdatrace.instrument
    def handler(event, context):
        requests.get(url + "/404", timeout=5)
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        sqs = botocore.session.get_session().create_client(
            "sqs", region_name="eu-west-1", endpoint_url=url, **keys
        )
        sqs.list_queues()
        if order != "httplib too":
            urllib.request.urlopen(url + "/200", timeout=5).close()

    handler({}, lambdatrace.testing.LambdaContext())
print(json.dumps([
    [span.name, span.scope.name, span.span_id, span.attributes]
    for span in recorded.spans
    if span.kind == 3
]))
"""


def run(url: str, order: str) -> list[Any]:
    environment = {**os.environ, "LAMBDA_TASK_ROOT": "/var/task"}
    environment.pop("_X_AMZN_TRACE_ID", None)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", PROGRAM, url, order],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    spans: list[Any] = json.loads(done.stdout)
    return spans


@pytest.mark.parametrize("order", ["libraries first", "the SDK first"])
def test_a_library_that_theirs_patches_is_recorded_once_and_by_theirs(
    web: WebServer, order: str
) -> None:
    http, aws, ours = run(web.url, order)
    assert http[:2] == ["127.0.0.1", "aws_xray_sdk"]
    assert http[3]["http.response.status_code"] == 404
    assert http[3]["url.full"] == f"{web.url}/404"
    assert aws[:2] == ["sqs", "aws_xray_sdk"]
    assert aws[3]["rpc.method"] == "ListQueues"
    assert ours[:2] == ["GET", "lambdatrace.patches.http.client"], "which theirs does not patch"
    parents = [head["x-amzn-trace-id"].split("Parent=")[1][:16] for head in web.heads]
    assert parents == [http[2], aws[2], ours[2]]


def test_with_httplib_patched_by_theirs_no_http_request_is_recorded_by_ours(
    web: WebServer,
) -> None:
    spans = run(web.url, "httplib too")
    assert {scope for _, scope, _, _ in spans} == {"aws_xray_sdk"}
    assert {"sqs", "127.0.0.1"} == {name for name, _, _, _ in spans}

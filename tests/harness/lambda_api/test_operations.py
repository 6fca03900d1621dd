"""Which operations there are, and that each is one of botocore's service model."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.harness.lambda_api.api import OPERATIONS
from lambdatrace.harness.lambda_api.service_model import operations

if TYPE_CHECKING:
    from lambdatrace.harness import Harness

INVOKES = ("Invoke", "InvokeWithResponseStream")
README = (Path(__file__).parents[3] / "README.md").read_text()


def test_the_readmes_table_names_the_operations_that_work() -> None:
    section = README.partition("### The local Lambda's API")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = re.findall(r"`(\w+)`", " ".join(cells))
    assert sorted(named) == sorted([*OPERATIONS, *INVOKES])


def test_every_operation_of_the_model_that_does_not_work_is_refused_by_name(
    harness: Harness,
) -> None:
    assert set(OPERATIONS) < set(operations())
    others = sorted(set(operations()) - set(OPERATIONS) - set(INVOKES))
    assert len(others) > 40
    connection = http.client.HTTPConnection(harness.endpoint_url.removeprefix("http://"))
    for name in others:
        request = operations()[name].model.http
        connection.request(request["method"], re.sub(r"\{\w+\+?\}", "x", request["requestUri"]))
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("x-amzn-ErrorType"), json.loads(answer.read())) == (
            404,
            "UnknownOperationException",
            {"Type": "User", "message": f"{name} is no operation of this local Lambda"},
        )
    connection.request("GET", "/2015-03-31/nothing")
    nothing = connection.getresponse()
    assert nothing.status == 404
    assert "GET /2015-03-31/nothing is no operation" in nothing.read().decode()
    connection.close()

"""Every operation of the models is called: it works, or is refused as AWS refuses what it has not.

`python tests/collector/test_aws_operations.py` writes the README's table anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.collector.one_protocol import session_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.collector.conftest import Collector

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- operations: generated -->\n", "<!-- operations: end -->\n"
SPOKEN = (
    ("logs", "json"),
    ("cloudwatch", "json"),
    ("cloudwatch", "query"),
    ("cloudwatch", "smithy-rpc-v2-cbor"),
    ("xray", "rest-json"),
)
REFUSALS = {
    (404, "UnknownOperationException"),
    (404, "InvalidAction"),  # the same, in the words of the query protocol
    (400, "InvalidAction"),
}
# What an operation may answer besides the errors that its model declares.
COMMON = {
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "InvalidParameterException",
    "MissingParameter",
    "ValidationError",
    "ValidationException",
}
ARN = "arn:aws:logs:eu-west-1:123456789012:log-group:g"
CANDIDATES = ("a", "1", "A" * 16, ARN, "Etc/UTC", "12345678-1234-1234-1234-123456789012", "cron(a)")


class Outcome(NamedTuple):
    """What a call came to: HTTP status and error code, empty when there is none."""

    status: int
    code: str

    @property
    def is_refused(self) -> bool:
        return self in REFUSALS


def sample(shape: Any, depth: int = 0) -> Any:
    """The least that a shape's constraints allow; required members alone."""
    kind, least = shape.type_name, shape.metadata.get("min", 0)
    if kind == "structure":
        names = list(shape.required_members)
        if shape.is_tagged_union or (depth and not names):
            names = list(shape.members)[:1]
        return {name: sample(shape.members[name], depth + 1) for name in names}
    if kind == "list":
        return [sample(shape.member, depth + 1)] * max(1, least)
    if kind == "map":
        return {sample(shape.key, depth + 1): sample(shape.value, depth + 1)}
    if kind == "string":
        return text(shape, least)
    scalars = {"float": 1.0, "double": 1.0, "boolean": True, "timestamp": 1_700_000_000}
    return b"x" * max(1, least) if kind == "blob" else scalars.get(kind, max(1, least))


def text(shape: Any, least: int) -> str:
    if shape.metadata.get("enum"):
        return str(shape.metadata["enum"][0])
    # Java's classes of characters, which Python has not, all hold letters.
    pattern = re.sub(r"\\p\{\w+\}", "a-zA-Z", shape.metadata.get("pattern") or ".*")
    for candidate in CANDIDATES:
        if len(candidate) >= least and re.fullmatch(pattern, candidate):
            return candidate
    return "a" * max(1, least)


def client_of(url: str, service: str, protocol: str) -> Any:
    return session_of(protocol).client(
        service,
        endpoint_url=url,
        region_name="ap-south-2",  # no other test looks there
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(
            parameter_validation=False,
            inject_host_prefix=False,
            retries={"total_max_attempts": 1},
        ),
    )


def walk(url: str, service: str, protocol: str) -> Iterator[tuple[Any, Outcome]]:
    """Each operation's model, and what became of a call with its least parameters."""
    client = client_of(url, service, protocol)
    model = client.meta.service_model
    assert model.resolved_protocol == protocol
    methods = {name: method for method, name in client.meta.method_to_api_mapping.items()}
    for name in model.operation_names:
        operation = model.operation_model(name)
        shape = operation.input_shape
        parameters = {} if shape is None else sample(shape)
        yield operation, outcome(getattr(client, methods[name]), parameters)


def outcome(call: Any, parameters: dict[str, Any]) -> Outcome:
    try:
        answer = call(**parameters)
    except ClientError as error:
        metadata = error.response["ResponseMetadata"]
        assert metadata["RequestId"], parameters
        return Outcome(metadata["HTTPStatusCode"], error.response["Error"]["Code"])
    for member in answer.values():
        if hasattr(member, "close"):
            member.close()
    return Outcome(answer["ResponseMetadata"]["HTTPStatusCode"], "")


def table(url: str) -> str:
    """The README's table: what each service's operations do."""
    rows = ["| service | works | refused with `UnknownOperationException` |", "|---|---|---|"]
    for service, protocol in (("logs", "json"), ("cloudwatch", "json"), ("xray", "rest-json")):
        found = [(model.name, each.is_refused) for model, each in walk(url, service, protocol)]
        works = ", ".join(name for name, is_refused in found if not is_refused)
        refused = ", ".join(name for name, is_refused in found if is_refused)
        rows.append(f"| {service} | {works or 'none yet'} | {refused or 'none'} |")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(("service", "protocol"), SPOKEN)
def test_every_operation_works_or_is_refused_as_aws_does(
    collector: Collector, service: str, protocol: str
) -> None:
    wrong = []
    for operation, found in walk(collector.url, service, protocol):
        declared = {
            name
            for shape in operation.error_shapes
            for name in (shape.name, shape.metadata.get("error", {}).get("code"))
        }
        is_answer = found.status == 200 or (
            400 <= found.status < 500 and found.code in declared | COMMON
        )
        if not is_answer and not found.is_refused:
            wrong.append((operation.name, found))
    assert wrong == []


def test_the_protocols_of_cloudwatch_offer_the_same_operations(collector: Collector) -> None:
    json, query, cbor = (
        {
            operation.name
            for operation, found in walk(collector.url, service, protocol)
            if found.is_refused
        }
        for service, protocol in SPOKEN
        if service == "cloudwatch"
    )
    assert json == query == cbor


def test_the_readme_s_table_says_which_operations_work(collector: Collector) -> None:
    text_before, _, rest = README.read_text().partition(BEGIN)
    assert text_before
    remedy = "run python tests/collector/test_aws_operations.py, which writes the table anew"
    assert rest.partition(END)[0] == table(collector.url), remedy


def write_readme() -> None:
    """Put the table of a collector that is started for it into the README."""
    import tempfile

    from conftest import start  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        collector = start(Path(folder) / "data", "--no-grpc", "--no-xray")
        try:
            before, _, rest = README.read_text().partition(BEGIN)
            README.write_text(before + BEGIN + table(collector.url) + END + rest.partition(END)[2])
        finally:
            collector.stop()


if __name__ == "__main__":
    write_readme()

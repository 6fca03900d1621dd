"""A function's tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.lambda_api.resources import invalid

if TYPE_CHECKING:
    from lambdatrace.harness.deployed_function import DeployedFunction
    from lambdatrace.harness.lambda_api.resources import Resources

TAGS_MAX = 50


def tag_resource(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Adds tags to a function."""
    target = _target(resources, parameters)
    if not parameters["Tags"]:
        raise invalid("An error occurred and the request cannot be processed.")
    tags = {**target.tags, **parameters["Tags"]}
    check(tags)
    target.tags = tags
    target.latest.revise()
    return {}


def untag_resource(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Removes tags; those that are not there are removed already."""
    target = _target(resources, parameters)
    removed = set(parameters["TagKeys"])
    target.tags = {key: value for key, value in target.tags.items() if key not in removed}
    target.latest.revise()
    return {}


def list_tags(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """A function's tags."""
    return {"Tags": _target(resources, parameters).tags}


def check(tags: dict[str, str]) -> None:
    """Raises InvokeError for more tags than a function may have."""
    if len(tags) > TAGS_MAX:
        raise invalid("Number of tags exceeds resource tag limit.")


def _target(resources: Resources, parameters: dict[str, Any]) -> DeployedFunction:
    arn = parameters["Resource"]
    if ":function:" not in arn:
        raise InvokeError(
            404, "ResourceNotFoundException", f"The resource {arn} does not exist in this Lambda"
        )
    named = {"FunctionName": arn}
    if resources.reference(named)[1]:
        raise invalid(
            "Tags on function aliases and versions are not supported. Please specify a function "
            "ARN."
        )
    return resources.function(named)


OPERATIONS = {
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
    "ListTags": list_tags,
}

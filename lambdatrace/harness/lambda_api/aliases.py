"""Aliases: names for versions, with a share of the invokes for a second version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.harness.deployed_function import Alias, DeployedFunction, not_found
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import LATEST
from lambdatrace.harness.lambda_api import provisioned_concurrency
from lambdatrace.harness.lambda_api.resources import check_revision, invalid, page
from lambdatrace.harness.lambda_api.validation import Fault, refuse

if TYPE_CHECKING:
    from lambdatrace.harness.lambda_api.resources import Resources

_WEIGHT = (
    "satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value "
    "greater than or equal to 0.0, Member must not be null]"
)


def create_alias(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Makes an alias of a version."""
    target = resources.function(parameters)
    name, version = parameters["Name"], parameters["FunctionVersion"]
    if name in target.aliases:
        raise InvokeError(
            409,
            "ResourceConflictException",
            f"Alias already exists: {target.qualified_arn(name)}",
        )
    weights = _weights(target, version, parameters.get("RoutingConfig"))
    _check_version(target, version)
    alias = Alias(name, version, parameters.get("Description", ""), weights)
    target.aliases[name] = alias
    return _describe(target, alias)


def get_alias(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """An alias."""
    target, alias = _alias(resources, parameters)
    return _describe(target, alias)


def list_aliases(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """A function's aliases, or those of one version, a page at a time."""
    target = resources.function(parameters)
    wanted = parameters.get("FunctionVersion")
    found = [a for a in target.aliases.values() if wanted in (None, a.version)]
    items, marker = page(found, parameters)
    return {"Aliases": [_describe(target, alias) for alias in items], "NextMarker": marker}


def update_alias(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Changes an alias; its provisioned concurrency follows it to another version."""
    target, alias = _alias(resources, parameters)
    check_revision(parameters, alias.revision_id)
    version = parameters.get("FunctionVersion", alias.version)
    _check_version(target, version)
    weights = alias.weights
    if "RoutingConfig" in parameters:
        weights = _weights(target, version, parameters["RoutingConfig"])
    alias.version, alias.weights = version, weights
    alias.description = parameters.get("Description", alias.description)
    alias.revise()
    provisioned_concurrency.allocate(resources.service.concurrency, target)
    return _describe(target, alias)


def delete_alias(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Deletes an alias and what is set for it; one that does not exist is deleted already."""
    target = resources.function(parameters)
    name = parameters["Name"]
    if target.aliases.pop(name, None):
        target.provisioned.pop(name, None)
        target.event_invoke_configs.pop(name, None)
        target.policies.pop(name, None)
        provisioned_concurrency.allocate(resources.service.concurrency, target)
    return {}


def _alias(resources: Resources, parameters: dict[str, Any]) -> tuple[DeployedFunction, Alias]:
    target = resources.function(parameters)
    alias = target.aliases.get(parameters["Name"])
    if alias is None:
        raise InvokeError(
            404,
            "ResourceNotFoundException",
            f"Cannot find alias arn: {target.qualified_arn(parameters['Name'])}",
        )
    return target, alias


def _check_version(target: DeployedFunction, version: str) -> None:
    if version not in target.versions:
        raise not_found(target.qualified_arn(version))


def _weights(
    target: DeployedFunction, version: str, routing: dict[str, Any] | None
) -> dict[str, float]:
    """The checked AdditionalVersionWeights. Raises InvokeError."""
    weights: dict[str, float] = (routing or {}).get("AdditionalVersionWeights", {})
    if len(weights) > 1:
        raise invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
    for other, weight in weights.items():
        path, shown = "routingConfig.additionalVersionWeights", f"{{{other}={weight}}}"
        if not 0.0 <= weight <= 1.0:
            refuse([Fault(path, shown, _WEIGHT, "Map value")])
        if other == version:
            raise invalid(
                f"Invalid function version {version}. Function version {version} is already "
                "included in routing configuration."
            )
        if LATEST in (version, other):
            raise invalid("$LATEST is not supported for an alias pointing to more than 1 version")
        _check_version(target, other)
    return weights


def _describe(target: DeployedFunction, alias: Alias) -> dict[str, Any]:
    routing = {"AdditionalVersionWeights": alias.weights} if alias.weights else None
    return {
        "AliasArn": target.qualified_arn(alias.name),
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RoutingConfig": routing,
        "RevisionId": alias.revision_id,
    }


OPERATIONS = {
    "CreateAlias": create_alias,
    "GetAlias": get_alias,
    "ListAliases": list_aliases,
    "UpdateAlias": update_alias,
    "DeleteAlias": delete_alias,
}

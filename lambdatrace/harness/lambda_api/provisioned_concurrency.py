"""Provisioned concurrency: environments of a version that are kept initialized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.harness.concurrency import ACCOUNT_CONCURRENCY_MAX, UNRESERVED_MIN
from lambdatrace.harness.deployed_function import ProvisionedConcurrency, not_found
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import LATEST, SNAP_START
from lambdatrace.harness.lambda_api.resources import invalid, page

if TYPE_CHECKING:
    from lambdatrace.harness.concurrency import Concurrency
    from lambdatrace.harness.deployed_function import DeployedFunction
    from lambdatrace.harness.lambda_api.resources import Resources


def put_provisioned_concurrency_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Asks for environments of a version, or of the one an alias points to."""
    if parameters["Qualifier"] == LATEST:
        raise invalid(
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
        )
    target, qualifier = _published(resources, parameters)
    if target.version(qualifier).function.is_managed:
        raise invalid(
            "Provisioned Concurrency Configs cannot be applied to functions with a capacity "
            "provider."
        )
    if target.version(qualifier).function.initialization_type == SNAP_START:
        raise invalid("Provisioned Concurrency is not supported for SnapStart enabled functions.")
    wanted = parameters["ProvisionedConcurrentExecutions"]
    _check_room(resources, target, qualifier, wanted)
    _check_once(target, qualifier)
    target.provisioned[qualifier] = ProvisionedConcurrency(wanted)
    allocate(resources.service.concurrency, target)
    return {
        "RequestedProvisionedConcurrentExecutions": wanted,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
        "LastModified": target.provisioned[qualifier].last_modified,
    }


def get_provisioned_concurrency_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """How far the allocation has come."""
    _refuse_latest(parameters)
    target, qualifier = _published(resources, parameters)
    if qualifier not in target.provisioned:
        raise InvokeError(
            404,
            "ProvisionedConcurrencyConfigNotFoundException",
            "No Provisioned Concurrency Config found for this function",
        )
    return _describe(target, qualifier)


def list_provisioned_concurrency_configs(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """A function's configurations, a page at a time."""
    target = resources.function(parameters)
    items, marker = page(list(target.provisioned), parameters)
    return {
        "ProvisionedConcurrencyConfigs": [
            {"FunctionArn": target.qualified_arn(qualifier), **_describe(target, qualifier)}
            for qualifier in items
        ],
        "NextMarker": marker,
    }


def delete_provisioned_concurrency_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Gives the environments up; nothing happens where there is no configuration."""
    _refuse_latest(parameters)
    target, qualifier = _published(resources, parameters)
    target.provisioned.pop(qualifier, None)
    allocate(resources.service.concurrency, target)
    return {}


def allocate(concurrency: Concurrency, target: DeployedFunction) -> None:
    """Gives every published version the environments that are asked for it, by name or alias."""
    wanted: dict[str, int] = {}
    for qualifier, config in target.provisioned.items():
        name = _version_of(target, qualifier)
        wanted[name] = wanted.get(name, 0) + config.requested
    concurrency.provisioned.pop(target.name, None)
    if wanted:
        concurrency.provisioned[target.name] = wanted
    for version in target.versions.values():
        if version.name != LATEST and version.pool:
            version.pool.provision(wanted.get(version.name, 0))


def _describe(target: DeployedFunction, qualifier: str) -> dict[str, Any]:
    config = target.provisioned[qualifier]
    version = target.versions.get(_version_of(target, qualifier))
    pool = version.pool if version else None
    allocated, failed = pool.provisioned if pool else (0, 0)
    status, reason = "IN_PROGRESS", None
    if failed:
        status, reason = "FAILED", "FUNCTION_ERROR_INIT_FAILURE"
    elif allocated >= config.requested:
        status = "READY"
    return {
        "RequestedProvisionedConcurrentExecutions": config.requested,
        "AvailableProvisionedConcurrentExecutions": allocated,
        "AllocatedProvisionedConcurrentExecutions": allocated,
        "Status": status,
        "StatusReason": reason,
        "LastModified": config.last_modified,
    }


def _check_room(
    resources: Resources, target: DeployedFunction, qualifier: str, wanted: int
) -> None:
    concurrency = resources.service.concurrency
    others = sum(c.requested for q, c in target.provisioned.items() if q != qualifier)
    reserved = concurrency.reserved.get(target.name)
    if reserved is not None:
        if reserved < others + wanted:
            raise invalid(
                "Requested Provisioned Concurrency should not be greater than the "
                "reservedConcurrentExecution for function"
            )
        return
    if wanted > ACCOUNT_CONCURRENCY_MAX:
        raise invalid(
            "Specified ConcurrentExecutions for function is greater than account's unreserved "
            f"concurrency [{ACCOUNT_CONCURRENCY_MAX}]."
        )
    left = concurrency.unreserved + concurrency.claim(target.name) - others - wanted
    if left < UNRESERVED_MIN:
        raise invalid(
            "Specified ConcurrentExecutions for function decreases account's "
            f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_MIN}]."
        )
    running = sum(sum(of.values()) for of in concurrency.provisioned.values())
    if running - _requested(target, qualifier) + wanted > concurrency.limit:
        raise invalid(
            f"This local Lambda runs {concurrency.limit} execution environments at most: "
            "raise its concurrency_max"
        )


def _requested(target: DeployedFunction, qualifier: str) -> int:
    config = target.provisioned.get(qualifier)
    return config.requested if config else 0


def _check_once(target: DeployedFunction, qualifier: str) -> None:
    """A version has provisioned concurrency by its number or by an alias, not by both."""
    alias = target.aliases.get(qualifier)
    if alias and alias.version in target.provisioned:
        raise InvokeError(
            409,
            "ResourceConflictException",
            "Alias can't be used for Provisioned Concurrency configuration on an already "
            "Provisioned version",
        )
    pointing = [a.name for a in target.aliases.values() if a.version == qualifier]
    if any(name in target.provisioned for name in pointing):
        raise InvokeError(
            409,
            "ResourceConflictException",
            "Version is pointed by a Provisioned Concurrency alias",
        )


def _refuse_latest(parameters: dict[str, Any]) -> None:
    if parameters["Qualifier"] == LATEST:
        raise invalid("The function resource provided must be an alias or a published version.")


def _published(resources: Resources, parameters: dict[str, Any]) -> tuple[DeployedFunction, str]:
    """The function, and the qualifier of one of its versions or aliases. Raises InvokeError."""
    target = resources.function(parameters)
    _, qualifier = resources.reference(parameters)
    if qualifier in target.aliases or qualifier in target.versions:
        return target, qualifier
    arn = target.qualified_arn(qualifier)
    if qualifier.isdigit():
        raise not_found(arn)
    raise InvokeError(404, "ResourceNotFoundException", f"Cannot find alias arn: {arn}")


def _version_of(target: DeployedFunction, qualifier: str) -> str:
    alias = target.aliases.get(qualifier)
    return alias.version if alias else qualifier


OPERATIONS = {
    "PutProvisionedConcurrencyConfig": put_provisioned_concurrency_config,
    "GetProvisionedConcurrencyConfig": get_provisioned_concurrency_config,
    "ListProvisionedConcurrencyConfigs": list_provisioned_concurrency_configs,
    "DeleteProvisionedConcurrencyConfig": delete_provisioned_concurrency_config,
}

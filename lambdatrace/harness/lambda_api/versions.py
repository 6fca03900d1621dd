"""Published versions: numbered, each with the code and configuration that `$LATEST` had."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.deployed_function import DeployedFunction, Version, not_found
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import MANAGED_INSTANCES, ON_DEMAND, SNAP_START
from lambdatrace.harness.lambda_api import code as code_files
from lambdatrace.harness.lambda_api import configuration, provisioned_concurrency
from lambdatrace.harness.lambda_api.resources import check_revision, invalid, page

if TYPE_CHECKING:
    from lambdatrace.harness.lambda_api.resources import Resources


def publish_version(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Publishes `$LATEST`; what has not changed since is not published again."""
    target = resources.function(parameters)
    check_idle(target)
    latest = target.latest
    check_revision(parameters, latest.revision_id)
    wanted, actual = parameters.get("CodeSha256"), latest.code.sha256
    if wanted and wanted != actual:
        raise invalid(
            f"CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({actual}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )
    version = publish(resources, target, parameters.get("Description"))
    return configuration.describe(target, version, version.name, resources.region)


def list_versions_by_function(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """`$LATEST` and the published versions, a page at a time."""
    target = resources.function(parameters)
    items, marker = page(list(target.versions.values()), parameters)
    described = [
        configuration.describe(target, version, version.name, resources.region) for version in items
    ]
    return {"Versions": [configuration.listed(d) for d in described], "NextMarker": marker}


def publish(
    resources: Resources, target: DeployedFunction, description: str | None = None
) -> Version:
    """The version published now, or the last one if nothing has changed since.

    A folder of this machine is copied, so that the version keeps what it has now.
    """
    latest = target.latest
    previous = target.versions.get(str(target.last_version))
    sha256 = latest.code.sha256
    if previous and (previous.change, previous.source_sha256) == (latest.change, sha256):
        return previous
    if not latest.code.zip_file:
        code_files.check_folder(latest.code.folder)
    code = resources.deployments.copied_code(target.name, latest.code)
    is_snap_start = latest.settings.get("SnapStart", {}).get("ApplyOn") == "PublishedVersions"
    kind = SNAP_START if is_snap_start else ON_DEMAND
    function = dataclasses.replace(
        latest.function,
        code_dir=code.folder,
        initialization_type=MANAGED_INSTANCES if latest.function.is_managed else kind,
    )
    settings = {**latest.settings}
    if description is not None:
        settings["Description"] = description
    target.last_version += 1
    version = Version(function, code, settings, str(target.last_version))
    version.change, version.source_sha256 = latest.change, sha256
    target.versions[version.name] = version
    copy_from = None if latest.code.zip_file else latest.code.folder
    resources.deployments.start(target, version, copy_from=copy_from)
    return version


def delete(resources: Resources, target: DeployedFunction, qualifier: str) -> None:
    """Deletes a published version. Raises InvokeError when an alias points to it."""
    if qualifier in target.aliases:
        raise not_found(target.qualified_arn(qualifier))
    pointing = [
        alias.name
        for alias in target.aliases.values()
        if qualifier == alias.version or qualifier in alias.weights
    ]
    if pointing:
        raise InvokeError(
            409,
            "ResourceConflictException",
            f"The following alias(es) reference this version: [{', '.join(pointing)}]",
        )
    version = target.versions.pop(qualifier, None)
    if version:
        target.provisioned.pop(qualifier, None)
        target.event_invoke_configs.pop(qualifier, None)
        target.policies.pop(qualifier, None)
        resources.deployments.remove(target, version)
        provisioned_concurrency.allocate(resources.service.concurrency, target)


def check_idle(target: DeployedFunction) -> None:
    """Raises InvokeError (ResourceConflictException) while `$LATEST` is created or updated."""
    version = target.latest
    if version.state.value == "Pending":
        raise InvokeError(
            409,
            "ResourceConflictException",
            "The operation cannot be performed at this time. The function is currently in the "
            f"following state: {version.state.value}",
        )
    if version.is_busy:
        raise InvokeError(
            409,
            "ResourceConflictException",
            "The operation cannot be performed at this time. An update is in progress for "
            f"resource: {target.arn}",
        )


OPERATIONS = {
    "PublishVersion": publish_version,
    "ListVersionsByFunction": list_versions_by_function,
}

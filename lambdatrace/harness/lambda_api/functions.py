"""CreateFunction and what reads, changes and deletes a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.harness.deployed_function import DeployedFunction, Version, lambda_timestamp
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import LATEST
from lambdatrace.harness.lambda_api import code as code_files
from lambdatrace.harness.lambda_api import configuration, tags, versions
from lambdatrace.harness.lambda_api.resources import check_revision, invalid, page

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.harness.lambda_api.resources import Resources

NAME_CHARACTERS_MAX = 64


def create_function(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Makes a function, Pending until it is deployed."""
    name, qualifier = resources.reference(parameters)
    if qualifier or len(name) > NAME_CHARACTERS_MAX:
        raise invalid(
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy "
            f"constraint: Member must have length less than or equal to {NAME_CHARACTERS_MAX}"
        )
    if name in resources.functions:
        raise InvokeError(409, "ResourceConflictException", f"Function already exist: {name}")
    if parameters.get("PackageType", "Zip") != "Zip":
        raise invalid("Functions of container images are not run by this local Lambda")
    if "Handler" not in parameters or "Runtime" not in parameters:
        raise invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment "
            "packages."
        )
    fields = configuration.changes(parameters, _layers(resources))
    tags.check(parameters.get("Tags", {}))
    zip_file, local = _given_code(parameters["Code"])
    code = resources.deployments.new_code(name, zip_file, local)
    function = configuration.create(name, code.folder, fields)
    settings = configuration.kept(parameters)
    configuration.check_snap_start(function, settings)
    version = Version(function, code, settings)
    target = DeployedFunction(function.arn(resources.region), version)
    target.tags = parameters.get("Tags", {})
    resources.functions[name] = target
    resources.deployments.start(target, version, unpacks=local is None)
    if parameters.get("Publish"):
        version = versions.publish(resources, target)
    return configuration.describe(target, version, region=resources.region)


def get_function(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """A version's configuration, where its code is, and the function's tags and concurrency."""
    target, version, _, qualifier = resources.qualified(parameters)
    reserved = resources.service.concurrency.reserved.get(target.name)
    return {
        "Configuration": configuration.describe(target, version, qualifier, resources.region),
        "Code": {"RepositoryType": "S3", "Location": version.code.folder.as_uri()},
        "Tags": target.tags or None,
        "Concurrency": None if reserved is None else {"ReservedConcurrentExecutions": reserved},
    }


def get_function_configuration(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """A version's configuration."""
    target, version, _, qualifier = resources.qualified(parameters)
    return configuration.describe(target, version, qualifier, resources.region)


def list_functions(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """The functions, or every version of them, a page at a time."""
    is_all = parameters.get("FunctionVersion") == "ALL"
    found = [
        (target, version)
        for target in resources.functions.values()
        for version in (target.versions.values() if is_all else [target.latest])
    ]
    items, marker = page(found, parameters)
    described = [
        configuration.describe(target, version, version.name if is_all else "", resources.region)
        for target, version in items
    ]
    return {"Functions": [configuration.listed(d) for d in described], "NextMarker": marker}


def update_function_code(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Gives `$LATEST` other code; what ran until then runs until it is deployed."""
    target = resources.function(parameters)
    version = _changeable(target, parameters)
    zip_file, local = _given_code(parameters)
    fields = configuration.changes(parameters, {})
    code = resources.deployments.new_code(target.name, zip_file, local)
    if parameters.get("DryRun"):
        return configuration.describe(target, version, region=resources.region)
    version.code = code
    _change(version, {"code_dir": code.folder, **fields})
    resources.deployments.start(target, version, unpacks=local is None)
    if parameters.get("Publish"):
        published = versions.publish(resources, target)
        return configuration.describe(target, published, published.name, resources.region)
    return configuration.describe(target, version, region=resources.region)


def update_function_configuration(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Changes the given members of `$LATEST`'s configuration."""
    target = resources.function(parameters)
    version = _changeable(target, parameters)
    fields = configuration.changes(parameters, _layers(resources))
    settings = {**version.settings, **configuration.kept(parameters)}
    configuration.check_snap_start(configuration.apply(version.function, fields), settings)
    _change(version, fields)
    version.settings = settings
    resources.deployments.start(target, version)
    return configuration.describe(target, version, region=resources.region)


def delete_function(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Deletes a function, or one of its versions."""
    target = resources.function(parameters)
    _, qualifier = resources.reference(parameters)
    if qualifier == LATEST:
        raise invalid("$LATEST version cannot be deleted without deleting the function.")
    if qualifier:
        versions.delete(resources, target, qualifier)
        return {"StatusCode": 204}
    del resources.functions[target.name]
    resources.service.concurrency.forget(target.name)
    for version in list(target.versions.values()):
        resources.deployments.remove(target, version)
    return {"StatusCode": 204}


def get_function_code_signing_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """None: code is not signed here. Terraform's provider asks for it with every function."""
    target = resources.function(parameters)
    return {"CodeSigningConfigArn": "", "FunctionName": target.name}


def _given_code(parameters: dict[str, Any]) -> tuple[bytes, Path | None]:
    """The zip file, or the local folder. Raises InvokeError."""
    local = code_files.local_folder(parameters)
    zip_file = parameters.get("ZipFile", b"")
    if local is None:
        code_files.check_zip(zip_file)
    return zip_file, local


def _changeable(target: DeployedFunction, parameters: dict[str, Any]) -> Version:
    """`$LATEST`, if it can be changed now. Raises InvokeError."""
    version = target.latest
    versions.check_idle(target)
    check_revision(parameters, version.revision_id)
    return version


def _change(version: Version, fields: dict[str, Any]) -> None:
    version.function = configuration.apply(version.function, fields)
    version.change += 1
    version.last_modified = lambda_timestamp()
    version.revise()


def _layers(resources: Resources) -> dict[str, Path]:
    functions = [
        version.function
        for target in resources.functions.values()
        for version in target.versions.values()
    ]
    return configuration.layer_arns(functions, resources.region)


OPERATIONS = {
    "CreateFunction": create_function,
    "GetFunction": get_function,
    "GetFunctionConfiguration": get_function_configuration,
    "GetFunctionCodeSigningConfig": get_function_code_signing_config,
    "ListFunctions": list_functions,
    "UpdateFunctionCode": update_function_code,
    "UpdateFunctionConfiguration": update_function_configuration,
    "DeleteFunction": delete_function,
}

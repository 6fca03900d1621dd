"""`FunctionConfiguration` and a `Function` of the harness: one made of the other, both ways.

Members that change what runs become fields of the Function; the others are kept and told as they
were given, as Role and Description.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import FunctionConfigurationError, InvokeError
from lambdatrace.harness.function import (
    ACCOUNT_ID,
    ENVIRONMENT_BYTES_MAX,
    LATEST,
    MANAGED_INSTANCES,
    MAX_CONCURRENCY_DEFAULT,
    MEMORY_MB_MAX,
    RESERVED_VARIABLES,
    RUNTIMES,
    SNAP_START,
    TIMEOUT_S_MAX,
    Function,
    find_interpreter,
    inspect_interpreter,
)
from lambdatrace.harness.lambda_api.resources import invalid
from lambdatrace.harness.lambda_api.validation import Fault, refuse
from lambdatrace.harness.limits import EPHEMERAL_STORAGE_MB_MAX, EPHEMERAL_STORAGE_MB_MIN
from lambdatrace.harness.logging_config import LEVEL_DEFAULT, TEXT, LoggingConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.harness.deployed_function import DeployedFunction, Status, Version

# Members that are a Function's field as they are.
_SAME = {
    "Handler": "handler",
    "Timeout": "timeout_s",
    "MemorySize": "memory_size_mb",
    "Runtime": "runtime",
}
# Members kept and told as given, with what Lambda tells when they were not.
KEPT: dict[str, Any] = {
    "Role": f"arn:aws:iam::{ACCOUNT_ID}:role/lambdatrace-local",
    "Description": "",
    "KMSKeyArn": None,
    "VpcConfig": None,
    "FileSystemConfigs": None,
}
_STATE_MEMBERS = (
    "State",
    "StateReason",
    "StateReasonCode",
    "LastUpdateStatus",
    "LastUpdateStatusReason",
    "LastUpdateStatusReasonCode",
    "RuntimeVersionConfig",
)
_SNAP_START_PYTHON_MIN = 12  # of 3.12


def changes(parameters: dict[str, Any], layers: dict[str, Path]) -> dict[str, Any]:
    """The Function's fields that a request sets. Raises InvokeError.

    `layers` are those that functions of the harness have, by ARN.
    """
    _check_limits(parameters)
    found = {field: parameters[name] for name, field in _SAME.items() if name in parameters}
    if "Environment" in parameters:
        found["environment"] = parameters["Environment"].get("Variables", {})
        _check_environment(found["environment"])
    if "Runtime" in parameters:
        found["python"] = _interpreter(parameters["Runtime"])
    if "Mode" in parameters.get("TracingConfig", {}):
        found["tracing"] = parameters["TracingConfig"]["Mode"]
    if "DeadLetterConfig" in parameters:
        found["dead_letter_target_arn"] = parameters["DeadLetterConfig"].get("TargetArn", "")
    if "Architectures" in parameters:
        [found["architecture"]] = parameters["Architectures"]
    if "LoggingConfig" in parameters:
        found["logging_config"] = _logging_config(parameters["LoggingConfig"])
    if "EphemeralStorage" in parameters:
        found["ephemeral_storage_mb"] = parameters["EphemeralStorage"]["Size"]
    if "TenancyConfig" in parameters:
        found["tenant_isolation_mode"] = parameters["TenancyConfig"]["TenantIsolationMode"]
    if "Layers" in parameters:
        found["layers"] = _layer_paths(parameters["Layers"], layers)
    return {**found, **_managed(parameters)}


def _managed(parameters: dict[str, Any]) -> dict[str, Any]:
    """The Function's fields that a capacity provider sets."""
    if "CapacityProviderConfig" not in parameters:
        return {}
    given = parameters["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
    concurrency = given.get("PerExecutionEnvironmentMaxConcurrency", MAX_CONCURRENCY_DEFAULT)
    return {"initialization_type": MANAGED_INSTANCES, "max_concurrency": concurrency}


def kept(parameters: dict[str, Any]) -> dict[str, Any]:
    """The members a request sets that are told again as they are."""
    members = (*KEPT, "SnapStart", "CapacityProviderConfig", "TenancyConfig")
    return {name: parameters[name] for name in members if name in parameters}


def check_snap_start(function: Function, settings: dict[str, Any]) -> None:
    """Raises InvokeError for what Lambda takes no snapshots of.

    Source: AWS Lambda developer guide, "Improving startup performance with Lambda SnapStart".
    """
    if settings.get("SnapStart", {}).get("ApplyOn") != "PublishedVersions":
        return
    runtime = runtime_of(function)
    if int(runtime.rpartition(".")[2]) < _SNAP_START_PYTHON_MIN:
        raise invalid(f"{runtime} is not supported for SnapStart enabled functions.")
    if function.ephemeral_storage_mb > EPHEMERAL_STORAGE_MB_MIN:
        raise invalid(
            f"Ephemeral storage greater than {EPHEMERAL_STORAGE_MB_MIN} MB is not supported for "
            "SnapStart enabled functions."
        )


def runtime_of(function: Function) -> str:
    """`python3.12`: what it was given, else its interpreter's."""
    return function.runtime or f"python{inspect_interpreter(function.python).version}"


def apply(function: Function, fields: dict[str, Any]) -> Function:
    """The Function with fields changed. Raises InvokeError for what it cannot be."""
    try:
        return dataclasses.replace(function, **fields)
    except FunctionConfigurationError as error:
        raise invalid(str(error)) from error


def create(name: str, code_dir: Path, fields: dict[str, Any]) -> Function:
    """A new Function. Raises InvokeError for what it cannot be."""
    try:
        return Function(name, fields.pop("handler"), code_dir=code_dir, **fields)
    except FunctionConfigurationError as error:
        raise invalid(str(error)) from error


def describe(
    target: DeployedFunction,
    version: Version,
    qualifier: str = "",
    region: str = "us-east-1",
) -> dict[str, Any]:
    """A version's `FunctionConfiguration`; its ARN ends in the qualifier, if there is one."""
    function = version.function
    document: dict[str, Any] = {
        **KEPT,
        **version.settings,
        "FunctionName": target.name,
        "FunctionArn": target.qualified_arn(qualifier),
        "Runtime": runtime_of(function),
        "Handler": function.handler,
        "CodeSize": version.code.size_bytes,
        "CodeSha256": version.code.sha256,
        "Timeout": math.ceil(function.timeout_s),
        "MemorySize": function.memory_size_mb,
        "EphemeralStorage": {"Size": function.ephemeral_storage_mb},
        "LastModified": version.last_modified,
        "Version": version.name,
        "TracingConfig": {"Mode": function.tracing},
        "RevisionId": version.revision_id,
        "PackageType": "Zip",
        "SnapStart": _snap_start(version),
        "LoggingConfig": _logging_document(function),
        "Architectures": [function.architecture],
        "Layers": [
            {"Arn": arn, "CodeSize": path.stat().st_size if path.is_file() else 0}
            for arn, path in layer_arns([function], region).items()
        ]
        or None,
    }
    if function.dead_letter_target_arn:
        document["DeadLetterConfig"] = {"TargetArn": function.dead_letter_target_arn}
    if function.is_managed and "CapacityProviderConfig" not in document:
        document["CapacityProviderConfig"] = {
            "LambdaManagedInstancesCapacityProviderConfig": {
                "CapacityProviderArn": f"arn:aws:lambda:{region}:{ACCOUNT_ID}:"
                "capacity-provider:lambdatrace-local",
                "PerExecutionEnvironmentMaxConcurrency": function.max_concurrency,
            }
        }
    if function.environment:
        document["Environment"] = {"Variables": dict(function.environment)}
    document |= _status("State", "StateReason", "StateReasonCode", version.state)
    if version.name == LATEST and version.last_update.value:
        document |= _status(
            "LastUpdateStatus",
            "LastUpdateStatusReason",
            "LastUpdateStatusReasonCode",
            version.last_update,
        )
    return document


def listed(document: dict[str, Any]) -> dict[str, Any]:
    """A configuration as the List operations tell it: without the states."""
    return {name: value for name, value in document.items() if name not in _STATE_MEMBERS}


def layer_arns(functions: Iterable[Function], region: str) -> dict[str, Path]:
    """The layers of functions, each under an ARN made of its file's or folder's name."""
    return {
        f"arn:aws:lambda:{region}:{ACCOUNT_ID}:layer:{_layer_name(Path(path))}:1": Path(path)
        for function in functions
        for path in function.layers
    }


def _interpreter(runtime: str) -> str:
    """The Python a runtime's functions run on; where there is none, its name, not to be deployed.

    Raises InvokeError for a runtime that is none of Python.
    """
    if runtime not in RUNTIMES:
        raise invalid(
            f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum "
            f"value set: [{', '.join(RUNTIMES)}] or be a valid ARN"
        )
    try:
        return find_interpreter(runtime)
    except FunctionConfigurationError:
        return runtime


def _check_limits(parameters: dict[str, Any]) -> None:
    """What the model allows for Managed Instances and Lambda refuses for other functions."""
    faults = [
        Fault(member, str(value), f"have value less than or equal to {limit}")
        for member, value, limit in (
            ("timeout", parameters.get("Timeout", 0), TIMEOUT_S_MAX),
            ("memorySize", parameters.get("MemorySize", 0), MEMORY_MB_MAX),
            (
                "ephemeralStorage.size",
                parameters.get("EphemeralStorage", {}).get("Size", 0),
                EPHEMERAL_STORAGE_MB_MAX,
            ),
        )
        if value > limit
    ]
    refuse(faults)


def _check_environment(variables: dict[str, str]) -> None:
    reserved = sorted(RESERVED_VARIABLES.intersection(variables))
    if reserved:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment "
            "variables you have provided contains reserved keys that are currently not supported "
            f"for modification. Reserved keys used in this request: {', '.join(reserved)}"
        )
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > ENVIRONMENT_BYTES_MAX:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment "
            "variables you have provided exceeded the 4KB limit. String measured: " + measured
        )


def _logging_config(given: dict[str, str]) -> LoggingConfig:
    try:
        return LoggingConfig(
            given.get("LogFormat", TEXT),
            given.get("ApplicationLogLevel", ""),
            given.get("SystemLogLevel", ""),
            given.get("LogGroup", ""),
        )
    except FunctionConfigurationError as error:
        raise invalid(str(error)) from error


def _logging_document(function: Function) -> dict[str, str]:
    config = function.logging_config
    document = {"LogFormat": config.log_format, "LogGroup": function.log_group}
    if config.is_json:
        document["ApplicationLogLevel"] = config.application_log_level or LEVEL_DEFAULT
        document["SystemLogLevel"] = config.system_log_level or LEVEL_DEFAULT
    return document


def _layer_paths(arns: list[str], known: dict[str, Path]) -> tuple[Path, ...]:
    for arn in arns:
        if arn not in known:
            raise InvokeError(
                400, "InvalidParameterValueException", f"Layer version {arn} does not exist."
            )
    return tuple(known[arn] for arn in arns)


def _layer_name(path: Path) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in path.stem)


def _snap_start(version: Version) -> dict[str, str]:
    apply_on = version.settings.get("SnapStart", {}).get("ApplyOn", "None")
    is_on = version.function.initialization_type == SNAP_START
    return {"ApplyOn": apply_on, "OptimizationStatus": "On" if is_on else "Off"}


def _status(value: str, reason: str, code: str, status: Status) -> dict[str, str]:
    members = {value: status.value, reason: status.reason, code: status.code}
    return {name: text for name, text in members.items() if text}

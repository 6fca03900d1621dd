"""What becomes of asynchronous invokes: a configuration for each version or alias."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.deployed_function import StoredEventInvokeConfig
from lambdatrace.harness.errors import FunctionConfigurationError, InvokeError
from lambdatrace.harness.function import LATEST
from lambdatrace.harness.lambda_api.resources import invalid, page

if TYPE_CHECKING:
    from lambdatrace.harness.deployed_function import DeployedFunction
    from lambdatrace.harness.lambda_api.resources import Resources

_FUNCTION_ARN = re.compile(r"arn:aws[a-zA-Z-]*:lambda:[^:]+:\d{12}:function:([^:]+)(?::.+)?")
_SERVICES = ("lambda", "sns", "sqs", "events", "s3")


def put_function_event_invoke_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Sets a configuration whole: what is not given is the default again."""
    target, qualifier = _target(resources, parameters)
    changes = _changes(resources, target, parameters)
    target.event_invoke_configs[qualifier] = _apply(StoredEventInvokeConfig(), changes)
    return _describe(target, qualifier)


def update_function_event_invoke_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Changes the given members of a configuration."""
    target, qualifier = _target(resources, parameters)
    changes = _changes(resources, target, parameters)
    stored = _stored(resources, target, qualifier)
    now = datetime.now(timezone.utc)
    target.event_invoke_configs[qualifier] = _apply(stored, {"last_modified": now, **changes})
    return _describe(target, qualifier)


def get_function_event_invoke_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """A configuration."""
    name, qualifier = resources.reference(parameters)
    target = resources.functions.get(name)
    qualifier = qualifier or LATEST
    if target is None:
        raise _no_config(resources.arn(name, qualifier))
    _stored(resources, target, qualifier)
    return _describe(target, qualifier)


def list_function_event_invoke_configs(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """A function's configurations, a page at a time."""
    name, _ = resources.reference(parameters)
    target = resources.functions.get(name)
    if target is None:
        raise _no_function()
    items, marker = page(list(target.event_invoke_configs), parameters)
    return {
        "FunctionEventInvokeConfigs": [_describe(target, qualifier) for qualifier in items],
        "NextMarker": marker,
    }


def delete_function_event_invoke_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Deletes a configuration: the defaults count again."""
    get_function_event_invoke_config(resources, parameters)
    name, qualifier = resources.reference(parameters)
    del resources.functions[name].event_invoke_configs[qualifier or LATEST]
    return {}


def _target(resources: Resources, parameters: dict[str, Any]) -> tuple[DeployedFunction, str]:
    name, qualifier = resources.reference(parameters)
    target = resources.functions.get(name)
    qualifier = qualifier or LATEST
    if target is None or (qualifier not in target.versions and qualifier not in target.aliases):
        raise _no_function()
    return target, qualifier


def _stored(
    resources: Resources, target: DeployedFunction, qualifier: str
) -> StoredEventInvokeConfig:
    stored = target.event_invoke_configs.get(qualifier)
    if stored is None:
        raise _no_config(resources.arn(target.name, qualifier))
    return stored


def _changes(
    resources: Resources, target: DeployedFunction, parameters: dict[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "MaximumRetryAttempts" in parameters:
        found["maximum_retry_attempts"] = parameters["MaximumRetryAttempts"]
    if "MaximumEventAgeInSeconds" in parameters:
        found["maximum_event_age_in_seconds"] = parameters["MaximumEventAgeInSeconds"]
    if "DestinationConfig" in parameters:
        config = parameters["DestinationConfig"]
        found["on_success"] = config.get("OnSuccess", {}).get("Destination", "")
        found["on_failure"] = config.get("OnFailure", {}).get("Destination", "")
        _check_destinations(resources, target, found["on_success"], found["on_failure"])
    if not found:
        raise invalid("You must specify at least one of error handling or destination setting.")
    return found


def _apply(stored: StoredEventInvokeConfig, changes: dict[str, Any]) -> StoredEventInvokeConfig:
    """The configuration with members changed. Raises InvokeError for what it cannot be."""
    try:
        return replace(stored, **changes)
    except FunctionConfigurationError as error:
        raise invalid(str(error)) from error


def _check_destinations(
    resources: Resources, target: DeployedFunction, on_success: str, on_failure: str
) -> None:
    for arn in filter(None, (on_failure, on_success)):
        service = arn.split(":")[2]
        is_fifo = service in ("sqs", "sns") and arn.endswith(".fifo")  # Lambda sends to none
        if service not in _SERVICES or is_fifo or (service == "s3" and arn == on_success):
            success = f"OnSuccess(destination={on_success})" if on_success else "null"
            failure = f"OnFailure(destination={on_failure})" if on_failure else "null"
            raise invalid(
                f"The provided destination config DestinationConfig(onSuccess={success}, "
                f"onFailure={failure}) is invalid."
            )
        named = _FUNCTION_ARN.fullmatch(arn) if service == "lambda" else None
        if named and named[1] == target.name:
            raise invalid("You can't specify the function as a destination for itself.")
        if service == "lambda" and (not named or named[1] not in resources.functions):
            raise invalid(f"The destination ARN {arn} is invalid.")


def _describe(target: DeployedFunction, qualifier: str) -> dict[str, Any]:
    stored = target.event_invoke_configs[qualifier]
    return {
        "LastModified": stored.last_modified,
        "FunctionArn": target.qualified_arn(qualifier),
        "MaximumRetryAttempts": stored.maximum_retry_attempts,
        "MaximumEventAgeInSeconds": stored.maximum_event_age_in_seconds,
        "DestinationConfig": {
            "OnSuccess": {"Destination": stored.on_success or None},
            "OnFailure": {"Destination": stored.on_failure or None},
        },
    }


def _no_function() -> InvokeError:
    return InvokeError(404, "ResourceNotFoundException", "The function doesn't exist.")


def _no_config(arn: str) -> InvokeError:
    return InvokeError(
        404, "ResourceNotFoundException", f"The function {arn} doesn't have an EventInvokeConfig"
    )


OPERATIONS = {
    "PutFunctionEventInvokeConfig": put_function_event_invoke_config,
    "UpdateFunctionEventInvokeConfig": update_function_event_invoke_config,
    "GetFunctionEventInvokeConfig": get_function_event_invoke_config,
    "ListFunctionEventInvokeConfigs": list_function_event_invoke_configs,
    "DeleteFunctionEventInvokeConfig": delete_function_event_invoke_config,
}

"""Reserved concurrency, the account's pool it is taken from, and recursion detection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.harness.concurrency import ACCOUNT_CONCURRENCY_MAX, UNRESERVED_MIN
from lambdatrace.harness.lambda_api.code import UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX
from lambdatrace.harness.lambda_api.resources import invalid

if TYPE_CHECKING:
    from lambdatrace.harness.deployed_function import DeployedFunction
    from lambdatrace.harness.lambda_api.resources import Resources

TOTAL_CODE_BYTES_MAX = 300 * 1024**3


def put_function_concurrency(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Reserves concurrency for a function. Raises InvokeError when the pool has too little."""
    target = _whole_function(resources, parameters)
    wanted = parameters["ReservedConcurrentExecutions"]
    concurrency = resources.service.concurrency
    if concurrency.unreserved + concurrency.claim(target.name) - wanted < UNRESERVED_MIN:
        raise invalid(
            "Specified ReservedConcurrentExecutions for function decreases account's "
            f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_MIN}]."
        )
    provisioned = concurrency.total_provisioned(target.name)
    if provisioned > wanted:
        raise invalid(
            f" ReservedConcurrentExecutions  {wanted} should not be lower than function's total "
            f"provisioned concurrency [{provisioned}]."
        )
    concurrency.reserve(target.name, wanted)
    return {"ReservedConcurrentExecutions": wanted}


def get_function_concurrency(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """A function's reserved concurrency, if it has any."""
    target = resources.function(parameters)
    reserved = resources.service.concurrency.reserved.get(target.name)
    return {"ReservedConcurrentExecutions": reserved}


def delete_function_concurrency(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Gives a function's reserved concurrency back to the pool."""
    target = _whole_function(resources, parameters)
    resources.service.concurrency.release(target.name)
    return {}


def get_account_settings(resources: Resources, _: dict[str, Any]) -> dict[str, Any]:
    """The account's limits, and what is used of them."""
    folders = {
        version.code.folder: version.code
        for target in resources.functions.values()
        for version in target.versions.values()
    }
    return {
        "AccountLimit": {
            "TotalCodeSize": TOTAL_CODE_BYTES_MAX,
            "CodeSizeUnzipped": UNZIPPED_BYTES_MAX,
            "CodeSizeZipped": ZIPPED_BYTES_MAX,
            "ConcurrentExecutions": ACCOUNT_CONCURRENCY_MAX,
            "UnreservedConcurrentExecutions": resources.service.concurrency.unreserved,
        },
        "AccountUsage": {
            "TotalCodeSize": sum(code.size_bytes for code in folders.values()),
            "FunctionCount": len(resources.functions),
        },
    }


def get_function_recursion_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Whether a loop through the function is ended."""
    return {"RecursiveLoop": resources.function(parameters).recursive_loop}


def put_function_recursion_config(
    resources: Resources, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Sets whether a loop through the function is ended."""
    target = resources.function(parameters)
    target.recursive_loop = parameters["RecursiveLoop"]
    return {"RecursiveLoop": target.recursive_loop}


def _whole_function(resources: Resources, parameters: dict[str, Any]) -> DeployedFunction:
    _, qualifier = resources.reference(parameters)
    if qualifier:
        raise invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not "
            "support this operation. Please specify either a function name or an unqualified "
            "function ARN."
        )
    return resources.function(parameters)


OPERATIONS = {
    "PutFunctionConcurrency": put_function_concurrency,
    "GetFunctionConcurrency": get_function_concurrency,
    "DeleteFunctionConcurrency": delete_function_concurrency,
    "GetAccountSettings": get_account_settings,
    "GetFunctionRecursionConfig": get_function_recursion_config,
    "PutFunctionRecursionConfig": put_function_recursion_config,
}

"""Resource-based policies, kept as documents: this local Lambda lets everyone in."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import LATEST
from lambdatrace.harness.lambda_api.resources import check_revision, invalid

if TYPE_CHECKING:
    from lambdatrace.harness.deployed_function import Alias, Version
    from lambdatrace.harness.lambda_api.resources import Resources

POLICY_BYTES_MAX = 20_480

_ACCOUNT = re.compile(r"\d{12}")
_IAM_ARN = re.compile(r"arn:aws[a-zA-Z-]*:(iam|sts)::.+")


def add_permission(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Adds a statement to the policy of a function, version or alias."""
    target, version, alias, qualifier = resources.qualified(parameters)
    if qualifier == LATEST:
        raise invalid("We currently do not support adding policies for $LATEST.")
    owner: Version | Alias = alias or version
    check_revision(parameters, owner.revision_id)
    statements = target.policies.get(qualifier, [])
    sid = parameters["StatementId"]
    if any(statement["Sid"] == sid for statement in statements):
        raise InvokeError(
            409,
            "ResourceConflictException",
            f"The statement id ({sid}) provided already exists. Please provide a new statement "
            "id, or remove the existing statement.",
        )
    statement = _statement(parameters, target.qualified_arn(qualifier))
    extended = [*statements, statement]
    size = len(_policy(extended).encode())
    if size > POLICY_BYTES_MAX:
        raise InvokeError(
            400,
            "PolicyLengthExceededException",
            f"The final policy size ({size}) is bigger than the limit ({POLICY_BYTES_MAX}).",
        )
    target.policies[qualifier] = extended
    owner.revise()
    return {"Statement": json.dumps(statement, separators=(",", ":"))}


def remove_permission(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """Removes a statement; with the last one, the policy."""
    target, version, alias, qualifier = resources.qualified(parameters)
    owner: Version | Alias = alias or version
    statements = target.policies.get(qualifier)
    if not statements:
        raise _not_found("No policy is associated with the given resource.")
    sid = parameters["StatementId"]
    left = [statement for statement in statements if statement["Sid"] != sid]
    if len(left) == len(statements):
        raise _not_found(f"Statement {sid} is not found in resource policy.")
    check_revision(parameters, owner.revision_id)
    if left:
        target.policies[qualifier] = left
    else:
        del target.policies[qualifier]
    owner.revise()
    return {}


def get_policy(resources: Resources, parameters: dict[str, Any]) -> dict[str, Any]:
    """The policy, as JSON in a text."""
    target, version, alias, qualifier = resources.qualified(parameters)
    statements = target.policies.get(qualifier)
    if not statements:
        raise _not_found("The resource you requested does not exist.")
    return {"Policy": _policy(statements), "RevisionId": (alias or version).revision_id}


def _statement(parameters: dict[str, Any], arn: str) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Sid": parameters["StatementId"],
        "Effect": "Allow",
        "Principal": _principal(parameters["Principal"]),
        "Action": parameters["Action"],
        "Resource": arn,
    }
    condition: dict[str, dict[str, str]] = {}
    for member, operator, key in (
        ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
        ("PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"),
        ("SourceAccount", "StringEquals", "AWS:SourceAccount"),
        ("EventSourceToken", "StringEquals", "lambda:EventSourceToken"),
        ("SourceArn", "ArnLike", "AWS:SourceArn"),
    ):
        if member in parameters:
            condition.setdefault(operator, {})[key] = parameters[member]
    if condition:
        statement["Condition"] = condition
    return statement


def _principal(principal: str) -> str | dict[str, str]:
    if principal == "*":
        return principal
    if principal.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return {"Service": principal}
    if _ACCOUNT.fullmatch(principal):
        return {"AWS": f"arn:aws:iam::{principal}:root"}
    if _IAM_ARN.fullmatch(principal):
        return {"AWS": principal}
    raise invalid("The provided principal was invalid. Please check the principal and try again.")


def _policy(statements: list[dict[str, Any]]) -> str:
    document = {"Version": "2012-10-17", "Id": "default", "Statement": statements}
    return json.dumps(document, separators=(",", ":"))


def _not_found(message: str) -> InvokeError:
    return InvokeError(404, "ResourceNotFoundException", message)


OPERATIONS = {
    "AddPermission": add_permission,
    "RemovePermission": remove_permission,
    "GetPolicy": get_policy,
}

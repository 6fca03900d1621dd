"""What the operations work on: functions found by the names requests give them."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, TypeVar

from lambdatrace.harness import invoke_api
from lambdatrace.harness.deployed_function import Alias, DeployedFunction, Version, not_found
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import LATEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace.harness.lambda_api.deployments import Deployments
    from lambdatrace.harness.service import LambdaService

T = TypeVar("T")

PAGE_ITEMS_MAX = 50


class Resources:
    """The functions of a service, and what deploys them."""

    def __init__(self, service: LambdaService, deployments: Deployments) -> None:
        self.service = service
        self.deployments = deployments
        self.region = service.settings.region

    @property
    def functions(self) -> dict[str, DeployedFunction]:
        """Every function by its name, in the order they were made."""
        return self.service.functions

    def reference(self, parameters: dict[str, Any]) -> tuple[str, str]:
        """The name and qualifier a request gives. Raises InvokeError for a wrong one."""
        return invoke_api.reference(
            parameters["FunctionName"], parameters.get("Qualifier", ""), self.region
        )

    def arn(self, name: str, qualifier: str = "") -> str:
        """The ARN of a function of this name, be there one or not."""
        return invoke_api.function_arn(self.region, name, qualifier)

    def function(self, parameters: dict[str, Any]) -> DeployedFunction:
        """The function a request names. Raises InvokeError (ResourceNotFoundException)."""
        name, qualifier = self.reference(parameters)
        found = self.functions.get(name)
        if found is None:
            raise not_found(self.arn(name, qualifier))
        return found

    def qualified(
        self, parameters: dict[str, Any]
    ) -> tuple[DeployedFunction, Version, Alias | None, str]:
        """Function, version, alias if one was named, and the qualifier, which may be empty.

        Raises InvokeError (ResourceNotFoundException) when one of them does not exist.
        """
        target = self.function(parameters)
        _, qualifier = self.reference(parameters)
        alias = target.aliases.get(qualifier)
        version = target.versions.get(alias.version if alias else qualifier or LATEST)
        if version is None:
            raise not_found(target.qualified_arn(qualifier))
        return target, version, alias, qualifier


def check_revision(parameters: dict[str, Any], revision_id: str) -> None:
    """Raises InvokeError (PreconditionFailedException) for a RevisionId that is not the latest."""
    if parameters.get("RevisionId", revision_id) != revision_id:
        raise InvokeError(
            412,
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the "
            "GetFunction/GetAlias API to retrieve the latest Revision Id",
        )


def page(items: Sequence[T], parameters: dict[str, Any]) -> tuple[list[T], str | None]:
    """The items of one page, and the marker of the next one if there is one."""
    start = _position(parameters.get("Marker", ""))
    end = start + min(parameters.get("MaxItems", PAGE_ITEMS_MAX), PAGE_ITEMS_MAX)
    marker = base64.b64encode(str(end).encode()).decode() if end < len(items) else None
    return list(items[start:end]), marker


def invalid(message: str) -> InvokeError:
    """The error for a value that is well-formed and cannot be."""
    return InvokeError(400, "InvalidParameterValueException", message)


def _position(marker: str) -> int:
    try:
        position = int(base64.b64decode(marker, validate=True) or b"0")
    except (binascii.Error, ValueError):
        position = -1
    if position < 0:
        raise invalid("Invalid pagination token")
    return position

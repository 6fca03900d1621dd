"""Destinations of other accounts' subscriptions, and resource policies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.definitions import DESTINATION, RESOURCE_POLICY, described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.definitions import Definitions

RESOURCE_POLICIES_MAX = 10  # per account and region; source: CloudWatch Logs quotas


class Destinations:
    """The operations on destinations and resource policies."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    async def put_destination(self, call: Call) -> Mapping[str, Any]:
        """PutDestination."""
        parameters = call.parameters
        name = parameters["destinationName"]
        old = await self._definitions.get(call, DESTINATION, name) or {}
        destination = {
            "destinationName": name,
            "targetArn": parameters["targetArn"],
            "roleArn": parameters["roleArn"],
            "arn": f"arn:aws:logs:{call.region}:{call.account}:destination:{name}",
            "creationTime": old.get("creationTime", call.now_ms),
        }
        if "accessPolicy" in old:
            destination["accessPolicy"] = old["accessPolicy"]
        await self._definitions.put(call, DESTINATION, name, destination)
        return {"destination": destination}

    async def put_destination_policy(self, call: Call) -> Mapping[str, Any]:
        """PutDestinationPolicy: kept and shown; nobody's access is checked here."""
        name = call.parameters["destinationName"]
        destination = await self._require(call, name)
        policy = _checked_json(call.parameters["accessPolicy"])
        await self._definitions.put(
            call, DESTINATION, name, {**destination, "accessPolicy": policy}
        )
        return {}

    async def describe_destinations(self, call: Call) -> Mapping[str, Any]:
        """DescribeDestinations."""
        found, token = await described(
            self._definitions,
            call,
            DESTINATION,
            prefix=call.parameters.get("DestinationNamePrefix", ""),
        )
        return {"destinations": found, "nextToken": token}

    async def delete_destination(self, call: Call) -> Mapping[str, Any]:
        """DeleteDestination."""
        name = call.parameters["destinationName"]
        await self._require(call, name)
        await self._definitions.delete(call, DESTINATION, name)
        return {}

    async def put_resource_policy(self, call: Call) -> Mapping[str, Any]:
        """PutResourcePolicy of the account: kept and shown; nobody's access is checked here."""
        parameters = call.parameters
        if "resourceArn" in parameters or "expectedRevisionId" in parameters:
            raise AwsError(
                "InvalidParameterException",
                "Resource policies of a single resource are not supported by this collector.",
            )
        if "policyName" not in parameters or "policyDocument" not in parameters:
            raise AwsError(
                "InvalidParameterException", "policyName and policyDocument are required."
            )
        name = parameters["policyName"]
        policies = await self._definitions.page(call, RESOURCE_POLICY)
        if len(policies) >= RESOURCE_POLICIES_MAX and name not in [each[1] for each in policies]:
            raise AwsError("LimitExceededException", "Resource limit exceeded.")
        policy = {
            "policyName": name,
            "policyDocument": _checked_json(parameters["policyDocument"]),
            "lastUpdatedTime": call.now_ms,
            "policyScope": "ACCOUNT",
        }
        await self._definitions.put(call, RESOURCE_POLICY, name, policy)
        return {"resourcePolicy": policy}

    async def describe_resource_policies(self, call: Call) -> Mapping[str, Any]:
        """DescribeResourcePolicies."""
        if call.parameters.get("policyScope") == "RESOURCE" or "resourceArn" in call.parameters:
            return {"resourcePolicies": []}
        found, token = await described(self._definitions, call, RESOURCE_POLICY)
        return {"resourcePolicies": found, "nextToken": token}

    async def delete_resource_policy(self, call: Call) -> Mapping[str, Any]:
        """DeleteResourcePolicy."""
        name = call.parameters.get("policyName", "")
        if not name or await self._definitions.get(call, RESOURCE_POLICY, name) is None:
            raise AwsError(
                "ResourceNotFoundException", f"Policy with name [{name}] does not exist."
            )
        await self._definitions.delete(call, RESOURCE_POLICY, name)
        return {}

    async def _require(self, call: Call, name: str) -> dict[str, Any]:
        destination = await self._definitions.get(call, DESTINATION, name)
        if destination is None:
            raise AwsError("ResourceNotFoundException", "The specified destination does not exist.")
        return destination


def _checked_json(document: str) -> str:
    try:
        policy = json.loads(document)
    except (ValueError, RecursionError):
        policy = None
    if not isinstance(policy, dict):
        raise AwsError("InvalidParameterException", "The policy document is not a JSON object.")
    return document

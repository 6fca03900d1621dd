"""X-Ray's sampling as a service has it that was never given a rule: the default one.

Source: X-Ray Developer Guide, "Configuring sampling rules"; X-Ray API reference, GetSamplingRules,
GetSamplingTargets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call

DEFAULT = "Default"
FIXED_RATE = 0.05
RESERVOIR_SIZE = 1  # requests a second
PRIORITY = 10_000
TARGET_STANDS_S = 300
INTERVAL_S = 10  # between two reports of a client
CLIENTS_MAX = 10_000


class Sampling:
    """The operations GetSamplingRules and GetSamplingTargets."""

    def __init__(self) -> None:
        self._seen_ms: dict[str, int] = {}  # client → its last report

    async def get_sampling_rules(self, call: Call) -> Mapping[str, Any]:
        """GetSamplingRules."""
        rule = {
            "RuleName": DEFAULT,
            "RuleARN": f"arn:aws:xray:{call.region}:{call.account}:sampling-rule/{DEFAULT}",
            "ResourceARN": "*",
            "Priority": PRIORITY,
            "FixedRate": FIXED_RATE,
            "ReservoirSize": RESERVOIR_SIZE,
            "ServiceName": "*",
            "ServiceType": "*",
            "Host": "*",
            "HTTPMethod": "*",
            "URLPath": "*",
            "Version": 1,
            "Attributes": {},
        }
        record = {"SamplingRule": rule, "CreatedAt": 0.0, "ModifiedAt": 0.0}
        return {"SamplingRuleRecords": [record]}

    async def get_sampling_targets(self, call: Call) -> Mapping[str, Any]:
        """GetSamplingTargets: the reservoir is shared by the clients that report."""
        targets, unprocessed = [], []
        for document in call.parameters["SamplingStatisticsDocuments"]:
            if document["RuleName"] != DEFAULT:
                unprocessed.append(
                    {
                        "RuleName": document["RuleName"],
                        "ErrorCode": "400",
                        "Message": "Unknown rule",
                    }
                )
                continue
            targets.append(
                {
                    "RuleName": DEFAULT,
                    "FixedRate": FIXED_RATE,
                    "ReservoirQuota": self._quota(document["ClientID"], call.now_ms),
                    "ReservoirQuotaTTL": call.now_ms / 1000 + TARGET_STANDS_S,
                    "Interval": INTERVAL_S,
                }
            )
        return {
            "SamplingTargetDocuments": targets,
            "LastRuleModification": 0.0,
            "UnprocessedStatistics": unprocessed,
            "UnprocessedBoostStatistics": [],
        }

    def _quota(self, client: str, now_ms: int) -> int:
        """How much of the reservoir is the client's: it is one request, the first one's."""
        oldest_ms = now_ms - TARGET_STANDS_S * 1000
        if len(self._seen_ms) >= CLIENTS_MAX or self._seen_ms.get(client, 0) < oldest_ms:
            recent = {key: seen for key, seen in self._seen_ms.items() if seen >= oldest_ms}
            self._seen_ms = {} if len(recent) >= CLIENTS_MAX else recent
        self._seen_ms[client] = now_ms
        return RESERVOIR_SIZE if next(iter(self._seen_ms)) == client else 0

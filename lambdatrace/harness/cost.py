"""What Lambda charges for an invoke, in USD, at us-east-1's prices of the first tier.

The request, and the billed duration by memory and architecture. What is allocated whether or not
there are invokes is not in it: provisioned concurrency by itself, SnapStart's cache.
Source: AWS Lambda pricing, as the SDK's `EstimatedCost` has it.
"""

from __future__ import annotations

from lambdatrace.harness.function import ARM64
from lambdatrace.invocation_metrics import (
    PROVISIONED_USD_PER_GB_S,
    USD_PER_GB_S,
    USD_PER_REQUEST,
)

__all__ = ["USD_PER_REQUEST", "cost_usd", "usd_per_gb_s"]

_MB_PER_GB = 1024


def cost_usd(
    billed_duration_ms: int, memory_size_mb: int, architecture: str, *, is_provisioned: bool = False
) -> float:
    """One request of so many billed milliseconds; `is_provisioned` for provisioned concurrency."""
    price = usd_per_gb_s(architecture, is_provisioned=is_provisioned)
    return USD_PER_REQUEST + billed_duration_ms / 1000 * memory_size_mb / _MB_PER_GB * price


def usd_per_gb_s(architecture: str, *, is_provisioned: bool = False) -> float:
    """The price of one second with one GB of memory."""
    prices = PROVISIONED_USD_PER_GB_S if is_provisioned else USD_PER_GB_S
    return prices["aarch64" if architecture == ARM64 else "x86_64"]

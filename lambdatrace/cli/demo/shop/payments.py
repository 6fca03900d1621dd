"""Charge a card. The bank is slow for large amounts: the function times out then.

Shows: a span as a decorator, and what remains of an invocation that Lambda kills.
"""

from __future__ import annotations

import time
from typing import Any

import lambdatrace

SLOW_ABOVE = 1000.0


@lambdatrace.span("ask the bank")
def ask_bank(amount: float) -> str:
    """Wait for the bank's answer."""
    time.sleep(60 if amount > SLOW_ABOVE else 0.02)
    return "approved"


@lambdatrace.instrument
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Charge one order."""
    lambdatrace.current_span().set_attribute("payment.amount", event["amount"])
    return {"status": ask_bank(event["amount"])}

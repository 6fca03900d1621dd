"""What the demo does with the shop: each step an event, and what should come of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdatrace.cli.demo import events
from lambdatrace.harness import Function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace.harness import Harness, InvokeResult

SHOP = Path(__file__).parent / "shop"

TEAPOTS = [{"sku": "teapot", "quantity": 2}]
KETTLE = [{"sku": "kettle", "quantity": 1}]
SAMOVAR = [{"sku": "samovar", "quantity": 1}]
SAMOVARS = [{"sku": "samovar", "quantity": 9}]  # too much for the bank
SPOON = [{"sku": "spoon", "quantity": 1}]  # not sold here


class UnexpectedResultError(Exception):
    """A step of the demo did not give what it must give."""


@dataclass(frozen=True)
class Step:
    """One thing that happened, in words, and the trace it made."""

    title: str
    outcome: str
    trace_id: str


def functions() -> list[Function]:
    """The shop's functions, as they would be deployed."""
    namespace = {"LAMBDATRACE_METRICS_NAMESPACE": "Shop"}
    return [
        Function("orders", "orders.handler", code_dir=SHOP, timeout_s=5, environment=namespace),
        Function("payments", "payments.handler", code_dir=SHOP, timeout_s=1),
        Function("fulfilment", "fulfilment.handler", code_dir=SHOP, environment=namespace),
        Function(
            "catalogue",
            "lambdatrace.auto.handler",
            code_dir=SHOP,
            environment={"LAMBDATRACE_HANDLER": "catalogue.handler"},
        ),
    ]


def order(number: str, items: list[dict[str, Any]], tier: str = "gold") -> dict[str, Any]:
    """What a customer posts."""
    return {"id": f"order-{number}", "tier": tier, "items": items}


def run(harness: Harness, announce: Callable[[str], None]) -> Iterator[Step]:
    """Run all steps in order. Raises UnexpectedResultError at the first that goes wrong."""
    shop = Shop(harness)
    announce("two orders at once: two cold starts of orders, and of payments behind it")
    yield from shop.place_at_once([order("1", TEAPOTS), order("2", KETTLE, "silver")])
    announce("warm invokes")
    yield from shop.place_warm(
        [order("3", TEAPOTS), order("4", KETTLE, "silver"), order("5", SAMOVAR), order("6", KETTLE)]
    )
    announce("an order for what is not sold: the handler raises")
    yield shop.place_unknown(order("7", SPOON))
    announce("an order the bank is too slow for: payments times out")
    yield shop.place_large(order("8", SAMOVARS))
    announce("the queue's messages, as one batch")
    yield shop.fulfil()
    announce("an object in S3, and a schedule")
    yield shop.read_prices()
    yield shop.check_stock()


class Shop:
    """Sends the shop its events; `sent` is what waits in the queue it would have."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.sent: list[dict[str, Any]] = []

    def place_at_once(self, orders: list[dict[str, Any]]) -> list[Step]:
        """Place orders in parallel, each in an environment of its own."""
        with ThreadPoolExecutor(len(orders)) as pool:
            return list(pool.map(lambda order: self._place(order, "cold"), orders))

    def place_warm(self, orders: list[dict[str, Any]]) -> list[Step]:
        """Place orders one after the other, each after the environment was frozen."""
        steps = []
        for order in orders:
            self._harness.wait_frozen("orders")
            steps.append(self._place(order, "warm"))
        return steps

    def place_unknown(self, order: dict[str, Any]) -> Step:
        """Place an order that the handler raises KeyError for."""
        self._harness.wait_frozen("orders")
        result = self._harness.invoke("orders", events.post_order(order))
        error = result.json()
        _expect(result, result.function_error == "Unhandled" and error["errorType"] == "KeyError")
        return _step("unknown article", f"{error['errorType']}: {error['errorMessage']}", result)

    def place_large(self, order: dict[str, Any]) -> Step:
        """Place an order whose payment times out."""
        self._harness.wait_frozen("orders")
        result = self._harness.invoke("orders", events.post_order(order))
        _expect(result, result.json().get("statusCode") == 502)  # noqa: PLR2004 - Bad Gateway
        return _step("large order", f"502 {result.json()['body']}", result)

    def fulfil(self) -> Step:
        """Give the messages sent so far to fulfilment."""
        result = self._harness.invoke("fulfilment", events.sqs_batch(self.sent))
        failures = result.json().get("batchItemFailures", [])
        _expect(result, len(failures) == 1)
        outcome = f"{len(self.sent)} messages, {len(failures)} back to the queue"
        return _step("SQS batch", outcome, result)

    def read_prices(self) -> Step:
        """Tell catalogue of a new object."""
        result = self._harness.invoke("catalogue", events.s3_put("shop-prices", "2026/winter.csv"))
        _expect(result, result.json() == {"read": ["2026/winter.csv"]})
        return _step("S3 notification", "read 2026/winter.csv", result)

    def check_stock(self) -> Step:
        """Tell catalogue that night has come."""
        self._harness.wait_frozen("catalogue")
        result = self._harness.invoke("catalogue", events.schedule("nightly-stock"))
        _expect(result, "checked" in result.json())
        return _step("schedule", "stock checked", result)

    def _place(self, order: dict[str, Any], start: str) -> Step:
        result = self._harness.invoke("orders", events.post_order(order))
        _expect(result, result.json().get("statusCode") == 201)  # noqa: PLR2004 - Created
        body = json.loads(result.json()["body"])
        self.sent.append(body["send"])
        return _step(f"{order['id']} ({start})", f"201 total {body['total']}", result)


def _step(title: str, outcome: str, result: InvokeResult) -> Step:
    root = dict(item.partition("=")[::2] for item in result.trace_header.split(";"))["Root"]
    return Step(title, outcome, root[2:].replace("-", ""))


def _expect(result: InvokeResult, is_as_expected: bool) -> None:
    if not is_as_expected:
        raise UnexpectedResultError(
            f"{result.function_error or result.status_code}: {result.payload.decode()}"
        )

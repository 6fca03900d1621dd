from __future__ import annotations

import json
from typing import Any

from lambdatrace.records import Metric
from lambdatrace.wire.emf import encode_metrics

SERVICE = (("service", "orders"),)


def documents(metrics: list[Metric], **properties: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in encode_metrics("shop", metrics, 1_700, properties)]


def test_a_metric_becomes_one_document_with_its_definition_and_its_dimensions() -> None:
    metric = Metric("OrdersPlaced", 1.0, "Count", (("service", "orders"), ("tier", "gold")), 60)
    assert documents([metric], requestId="r") == [
        {
            "requestId": "r",
            "service": "orders",
            "tier": "gold",
            "OrdersPlaced": 1.0,
            "_aws": {
                "Timestamp": 1_700,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "shop",
                        "Dimensions": [["service", "tier"]],
                        "Metrics": [{"Name": "OrdersPlaced", "Unit": "Count"}],
                    }
                ],
            },
        }
    ]


def test_values_of_one_metric_become_an_array_and_high_resolution_is_told() -> None:
    metrics = [Metric("Latency", float(n), "Milliseconds", SERVICE, 1) for n in range(3)]
    (document,) = documents(metrics)
    assert document["Latency"] == [0.0, 1.0, 2.0]
    assert document["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [
        {"Name": "Latency", "Unit": "Milliseconds", "StorageResolution": 1}
    ]


def test_each_set_of_dimensions_has_its_own_document() -> None:
    metrics = [Metric("A", 1.0, "Count", SERVICE, 60), Metric("A", 2.0, "Count", (), 60)]
    assert [
        (document["A"], document["_aws"]["CloudWatchMetrics"][0]["Dimensions"])
        for document in documents(metrics)
    ] == [(1.0, [["service"]]), (2.0, [[]])]


def test_a_document_holds_at_most_100_metrics_with_100_values() -> None:
    many = [Metric(f"m{n}", 1.0, "None", SERVICE, 60) for n in range(250)]
    many += [Metric("m0", float(n), "None", SERVICE, 60) for n in range(250)]
    found = documents(many)
    assert all(len(d["_aws"]["CloudWatchMetrics"][0]["Metrics"]) <= 100 for d in found)
    values: dict[str, list[float]] = {}
    for document in found:
        for name in (m["Name"] for m in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]):
            value = document[name]
            assert not isinstance(value, list) or 1 < len(value) <= 100
            values.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    assert len(values) == 250
    assert values["m0"] == [1.0, *map(float, range(250))]


def test_a_metric_that_comes_again_in_another_unit_gets_another_document() -> None:
    metrics = [
        Metric("Size", 1.0, "Bytes", SERVICE, 60),
        Metric("Size", 2.0, "Kilobytes", SERVICE, 60),
        Metric("Size", 3.0, "Bytes", SERVICE, 60),
    ]
    assert [
        (d["Size"], d["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Unit"])
        for d in documents(metrics)
    ] == [([1.0, 3.0], "Bytes"), (2.0, "Kilobytes")]


def test_a_property_gives_way_to_a_dimension_of_the_same_name() -> None:
    (document,) = documents([Metric("A", 1.0, "Count", SERVICE, 60)], service="other")
    assert document["service"] == "orders"

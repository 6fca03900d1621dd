from __future__ import annotations

import json
from typing import Any

from lambdatrace.records import Metric
from lambdatrace.testing import START_NS
from lambdatrace.wire.emf import (
    DOCUMENT_BYTES_MAX,
    METRIC_COUNT_MAX,
    PROPERTIES_BYTES_MAX,
    VALUE_COUNT_MAX,
    encode_metrics,
)
from tests.sdk.embedded_metric_rules import samples

START_MS = START_NS // 1_000_000
SERVICE = (("service", "orders"),)


def refuse(place: str, reason: str) -> None:
    raise AssertionError(f"{place}: {reason}")


def made(
    name: str, *values: float, unit: str = "Count", sets: Any = (SERVICE,), **others: Any
) -> Metric:
    return Metric(name, values, unit, sets, **{"namespace": "shop", "time_ns": START_NS, **others})


def documents(metrics: list[Metric], on_error: Any = refuse, **context: str) -> list[Any]:
    lines = encode_metrics(metrics, context, on_error)
    for line in lines:
        assert samples(line, START_MS)
    return [json.loads(line) for line in lines]


def test_a_metric_becomes_one_document_with_its_definition_and_its_dimensions() -> None:
    metric = made("OrdersPlaced", 1.0, sets=((("service", "orders"), ("tier", "gold")),))
    assert documents([metric], requestId="r") == [
        {
            "requestId": "r",
            "service": "orders",
            "tier": "gold",
            "OrdersPlaced": 1.0,
            "_aws": {
                "Timestamp": START_MS,
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
    metrics = [made("Latency", float(n), unit="Milliseconds", resolution_s=1) for n in range(3)]
    (document,) = documents(metrics)
    assert document["Latency"] == [0.0, 1.0, 2.0]
    assert document["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [
        {"Name": "Latency", "Unit": "Milliseconds", "StorageResolution": 1}
    ]


def test_several_dimension_sets_share_a_document() -> None:
    sets = ((("city", "Zurich"), ("tier", "gold")), (("tier", "gold"),), ())
    (document,) = documents([made("A", 1.0, sets=sets)])
    assert document["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [
        ["city", "tier"],
        ["tier"],
        [],
    ]
    assert (document["city"], document["tier"]) == ("Zurich", "gold")


def test_other_dimensions_namespaces_and_properties_have_documents_of_their_own() -> None:
    metrics = [
        made("A", 1.0),
        made("A", 2.0, sets=((),)),
        made("A", 3.0, namespace="other"),
        made("A", 4.0, properties={"order": 7}),
        made("B", 5.0, properties={"order": 7}),
    ]
    found = documents(metrics)
    assert [document["A"] for document in found] == [1.0, 2.0, 3.0, 4.0]
    assert [document.get("order") for document in found] == [None, None, None, 7]
    assert found[3]["B"] == 5.0


def test_times_are_kept_as_far_as_the_resolution_tells_them_apart() -> None:
    second = 1_000_000_000
    metrics = [
        made("A", 1.0),
        made("A", 2.0, time_ns=START_NS + 30 * second),
        made("A", 3.0, time_ns=START_NS + 60 * second),
        made("B", 4.0, resolution_s=1),
        made("B", 5.0, resolution_s=1, time_ns=START_NS + second),
        made("C", 6.0, time_ns=START_NS + 7, has_own_time=True),
        made("C", 7.0, time_ns=START_NS + 5_000_000, has_own_time=True),
    ]
    assert [
        (
            document["_aws"]["Timestamp"] - START_MS,
            {name: document[name] for name in "ABC" if name in document},
        )
        for document in documents(metrics)
    ] == [
        (0, {"A": [1.0, 2.0]}),
        (60_000, {"A": 3.0}),
        (0, {"B": 4.0}),
        (1_000, {"B": 5.0}),
        (0, {"C": 6.0}),
        (5, {"C": 7.0}),
    ]


def test_a_document_holds_at_most_100_metrics_with_100_values() -> None:
    many = [made(f"m{n}", 1.0) for n in range(250)]
    many += [made("m0", *map(float, range(70))), made("m0", *map(float, range(70, 250)))]
    found = documents(many)
    values: dict[str, list[float]] = {}
    for document in found:
        names = [m["Name"] for m in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
        assert len(names) <= METRIC_COUNT_MAX
        for name in names:
            value = document[name]
            assert not isinstance(value, list) or 1 < len(value) <= VALUE_COUNT_MAX
            values.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    assert len(values) == 250
    assert values["m0"] == [1.0, *map(float, range(250))]
    assert len(found) == 4  # the second is full of other metrics


def test_a_document_that_would_be_too_long_is_split() -> None:
    value = 1.2345678901234567e-100
    metrics = [made("é" * 250 + f"{n:05}", *[value] * 100) for n in range(100)]
    lines = encode_metrics(metrics, {}, refuse)
    assert len(lines) == 3
    assert all(len(line) <= DOCUMENT_BYTES_MAX for line in lines)
    found = [sample for line in lines for sample in samples(line, START_MS)]
    assert sum(len(sample[-1]) for sample in found) == 100 * 100


def test_a_metric_that_comes_again_in_another_unit_gets_another_document() -> None:
    metrics = [
        made("Size", 1.0, unit="Bytes"),
        made("Size", 2.0, unit="Kilobytes"),
        made("Size", 3.0, unit="Bytes"),
    ]
    assert [
        (d["Size"], d["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Unit"])
        for d in documents(metrics)
    ] == [([1.0, 3.0], "Bytes"), (2.0, "Kilobytes")]


def test_context_gives_way_to_whatever_has_its_name() -> None:
    (document,) = documents(
        [made("A", 1.0, properties={"requestId": 7})], service="x", requestId="r"
    )
    assert (document["service"], document["requestId"]) == ("orders", 7)


def test_a_property_gives_way_to_a_dimension_or_metric_of_its_name_and_that_is_said() -> None:
    said: list[str] = []
    properties = {"service": "x", "A": "y", "_aws": {}, "order": [1, {"n": None}]}
    (document,) = documents(
        [made("A", 1.0, properties=properties)], lambda place, _: said.append(place)
    )
    assert (document["service"], document["A"], document["order"]) == (
        "orders",
        1.0,
        [1, {"n": None}],
    )
    assert said == [f'metric property "{name}"' for name in ("service", "A", "_aws")]


def test_properties_beyond_their_room_are_left_out_and_said() -> None:
    said: list[str] = []
    properties = {"a": 1, "large": "x" * PROPERTIES_BYTES_MAX, "b": 2}
    (document,) = documents(
        [made("A", 1.0, properties=properties)], lambda place, _: said.append(place)
    )
    assert set(document) == {"a", "service", "A", "_aws"}
    assert said == ['metric property "large"']

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

HOUR = timedelta(hours=1)


@pytest.fixture
def cloudwatch(collector: Collector) -> Any:
    return collector.client("cloudwatch")


@pytest.fixture
def hour() -> datetime:
    """The start of the hour before this one: all its minutes lie in the past."""
    now = datetime.now(timezone.utc)
    return now.replace(minute=0, second=0, microsecond=0) - HOUR


def dimensions(**pairs: str) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in pairs.items()]


def query(namespace: str, name: str, stat: str, period: int = 3600, **more: Any) -> dict[str, Any]:
    dims = more.pop("dims", [])
    metric: dict[str, Any] = {"Namespace": namespace, "MetricName": name, "Dimensions": dims}
    return {"Id": "q", "MetricStat": {"Metric": metric, "Period": period, "Stat": stat, **more}}


def values(cloudwatch: Any, start: datetime, *queries: dict[str, Any]) -> list[list[float]]:
    named = [{**item, "Id": f"q{place}"} for place, item in enumerate(queries)]
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=named, StartTime=start, EndTime=start + HOUR, ScanBy="TimestampAscending"
    )
    return [result["Values"] for result in answer["MetricDataResults"]]


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_every_basic_statistic_and_percentile_is_computed(
    cloudwatch: Any, unique: str, hour: datetime
) -> None:
    data: list[dict[str, Any]] = [
        {"Value": 5.0},
        {"Values": [1.0, 2.0, 100.0], "Counts": [1.0, 3.0, 1.0]},
        {"StatisticValues": {"SampleCount": 2.0, "Sum": 14.0, "Minimum": 7.0, "Maximum": 7.0}},
    ]
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[{"MetricName": "Latency", "Timestamp": hour, **datum} for datum in data],
    )
    # 1 2 2 2 5 7 7 100
    stats = ("SampleCount", "Sum", "Average", "Minimum", "Maximum", "p0", "p50", "p100", "p90.5")
    found = values(cloudwatch, hour, *(query(unique, "Latency", stat) for stat in stats))
    # p90.5 lies 0.905 * 7 = 6.335 steps from the first: 0.335 of the way from 7 to 100.
    basic = [[8.0], [126.0], [15.75], [1.0], [100.0]]
    assert found == [*basic, [1.0], [3.5], [100.0], [pytest.approx(38.155, rel=1e-12)]]


def test_a_dimension_that_comes_twice_is_refused_by_its_place(
    cloudwatch: Any, unique: str, hour: datetime
) -> None:
    twice = [{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]
    span = {"StartTime": hour, "EndTime": hour + HOUR}
    metric = {"Namespace": unique, "MetricName": "m", "Dimensions": twice}
    put = refused(
        cloudwatch.put_metric_data,
        Namespace=unique,
        MetricData=[{"MetricName": "m", "Value": 1.0, "Dimensions": twice}],
    )
    asked = refused(
        cloudwatch.get_metric_statistics, **metric, **span, Period=60, Statistics=["Sum"]
    )
    queried = refused(
        cloudwatch.get_metric_data,
        MetricDataQueries=[query(unique, "m", "Sum", dims=twice)],
        **span,
    )
    assert [message for _, message in (put, asked, queried)] == [
        f"The parameter {path}Dimensions has the same name more than once."
        for path in ("MetricData.member.1.", "", "MetricDataQueries.member.1.MetricStat.Metric.")
    ]


def test_a_percentile_is_not_told_where_it_cannot_be_known(
    cloudwatch: Any, unique: str, hour: datetime
) -> None:
    spread = {"SampleCount": 3.0, "Sum": 6.0, "Minimum": 1.0, "Maximum": 3.0}
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[
            {"MetricName": "Set", "Timestamp": hour, "StatisticValues": spread},
            {"MetricName": "Negative", "Timestamp": hour, "Value": -1.0},
        ],
    )
    found = values(
        cloudwatch,
        hour,
        query(unique, "Set", "p50"),
        query(unique, "Set", "Average"),
        query(unique, "Negative", "p50"),
        query(unique, "Negative", "Minimum"),
    )
    assert found == [[], [2.0], [], [-1.0]]


def test_points_lie_in_periods_newest_first_and_in_pages(
    cloudwatch: Any, unique: str, hour: datetime
) -> None:
    moments = [hour + timedelta(seconds=seconds) for seconds in (0, 59, 60, 150, 299, 300)]
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[
            {"MetricName": "Calls", "Timestamp": moment, "Value": 1.0} for moment in moments
        ],
    )
    request = {
        "MetricDataQueries": [query(unique, "Calls", "Sum", 60)],
        "StartTime": hour,
        "EndTime": hour + timedelta(minutes=5),
    }
    whole = cloudwatch.get_metric_data(**request)["MetricDataResults"][0]
    first = cloudwatch.get_metric_data(**request, MaxDatapoints=3)
    second = cloudwatch.get_metric_data(**request, MaxDatapoints=3, NextToken=first["NextToken"])

    minutes = [round((moment - hour).total_seconds() / 60) for moment in whole["Timestamps"]]
    assert (minutes, whole["Values"]) == ([4, 2, 1, 0], [1.0, 1.0, 1.0, 2.0])
    assert (whole["Label"], whole["StatusCode"]) == ("Calls", "Complete")
    assert first["MetricDataResults"][0]["StatusCode"] == "PartialData"
    assert second["MetricDataResults"][0]["Values"] == [2.0]
    assert "NextToken" not in second


def test_results_come_in_pages_that_a_paginator_puts_together(
    cloudwatch: Any, unique: str, hour: datetime
) -> None:
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[
            {
                "MetricName": f"m{metric}",
                "Timestamp": hour + timedelta(minutes=minute),
                "Value": metric * 100.0 + minute,
            }
            for metric in range(4)
            for minute in range(3)
        ],
    )
    stats = [{**query(unique, f"m{metric}", "Sum", 60), "Id": f"q{metric}"} for metric in range(4)]
    stats[1]["ReturnData"] = False
    expected = {f"q{metric}": [metric * 100.0 + 2 - n for n in range(3)] for metric in (0, 2, 3)}
    for expressions in ([], [{"Id": "e", "Expression": "q1 + q0"}]):
        whole = {**expected, "e": [104.0, 102.0, 100.0]} if expressions else expected
        for size in (1, 4, 100):
            pages = cloudwatch.get_paginator("get_metric_data").paginate(
                MetricDataQueries=[*stats, *expressions],
                StartTime=hour,
                EndTime=hour + HOUR,
                PaginationConfig={"PageSize": size},
            )
            found: dict[str, list[float]] = {}
            for page in pages:
                assert sum(len(result["Values"]) for result in page["MetricDataResults"]) <= size
                for result in page["MetricDataResults"]:
                    found.setdefault(result["Id"], []).extend(result["Values"])
            assert found == whole


def test_a_metric_is_its_exact_set_of_dimensions_in_any_order(
    cloudwatch: Any, unique: str, hour: datetime
) -> None:
    both, one = dimensions(tier="gold", region="eu"), dimensions(tier="gold")
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[
            {"MetricName": "Orders", "Timestamp": hour, "Value": 1.0, "Dimensions": both},
            {"MetricName": "Orders", "Timestamp": hour, "Value": 2.0, "Dimensions": one},
        ],
    )
    found = values(
        cloudwatch,
        hour,
        query(unique, "Orders", "Sum", dims=list(reversed(both))),
        query(unique, "Orders", "Sum", dims=one),
        query(unique, "Orders", "Sum"),
    )
    assert found == [[1.0], [2.0], []]


def test_units_are_kept_apart(cloudwatch: Any, unique: str, hour: datetime) -> None:
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[
            {"MetricName": "Time", "Timestamp": hour, "Value": 5.0, "Unit": "Seconds"},
            {"MetricName": "Time", "Timestamp": hour, "Value": 7.0, "Unit": "Milliseconds"},
        ],
    )
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[query(unique, "Time", "Sum")], StartTime=hour, EndTime=hour + HOUR
    )
    asked = values(
        cloudwatch,
        hour,
        query(unique, "Time", "Sum", Unit="Seconds"),
        query(unique, "Time", "Sum", Unit="Bytes"),
    )
    (result,) = answer["MetricDataResults"]
    message = "Multiple units returned: '[Milliseconds, Seconds]'"
    assert result["Values"] == [7.0]
    assert result["Messages"] == [{"Code": "MultipleUnits", "Value": message}]
    assert asked == [[5.0], []]


def test_get_metric_statistics_gives_a_datapoint_per_period_and_unit(
    cloudwatch: Any, unique: str, hour: datetime
) -> None:
    cloudwatch.put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {
                "MetricName": "Duration",
                "Timestamp": hour,
                "Values": [10.0, 20.0],
                "Unit": "Milliseconds",
                "Dimensions": dimensions(FunctionName=unique),
            }
        ],
    )
    answer = cloudwatch.get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Duration",
        Dimensions=dimensions(FunctionName=unique),
        StartTime=hour,
        EndTime=hour + HOUR,
        Period=60,
        Statistics=["Average", "SampleCount"],
        ExtendedStatistics=["p50"],
    )
    assert answer["Label"] == "Duration"
    assert answer["Datapoints"] == [
        {
            "Timestamp": hour,
            "Unit": "Milliseconds",
            "Average": 15.0,
            "SampleCount": 2.0,
            "ExtendedStatistics": {"p50": 15.0},
        }
    ]


def test_metrics_are_listed_by_namespace_name_and_dimension(cloudwatch: Any, unique: str) -> None:
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[
            {"MetricName": name, "Value": 1.0, "Dimensions": dimensions(**dims)}
            for name, dims in (
                ("a", {}),
                ("b", {"tier": "gold"}),
                ("b", {"tier": "golden", "x": "1"}),
            )
            for _ in range(2)
        ],
    )

    def listed(**parameters: Any) -> list[tuple[str, list[dict[str, str]]]]:
        found = cloudwatch.list_metrics(Namespace=unique, **parameters)["Metrics"]
        return sorted(((metric["MetricName"], metric["Dimensions"]) for metric in found), key=repr)

    gold = ("b", dimensions(tier="gold"))
    golden = ("b", dimensions(tier="golden", x="1"))
    assert listed() == [("a", []), gold, golden]
    assert listed(MetricName="a") == [("a", [])]
    assert listed(Dimensions=[{"Name": "tier"}], RecentlyActive="PT3H") == [gold, golden]
    assert listed(Dimensions=[{"Name": "tier", "Value": "gold"}]) == [gold]
    assert listed(OwningAccount="123456789012", MetricName="a") == [("a", [])]
    assert listed(OwningAccount="210987654321", IncludeLinkedAccounts=True) == []
    owners = cloudwatch.list_metrics(Namespace=unique, IncludeLinkedAccounts=True)["OwningAccounts"]
    assert owners == ["123456789012"] * 3


def test_metrics_are_listed_in_pages_of_500(cloudwatch: Any, unique: str) -> None:
    data = [{"MetricName": f"m{number:04}", "Value": 1.0} for number in range(1000)]
    cloudwatch.put_metric_data(Namespace=unique, MetricData=data)
    pages = list(cloudwatch.get_paginator("list_metrics").paginate(Namespace=unique))
    names = [metric["MetricName"] for page in pages for metric in page["Metrics"]]
    assert [len(page["Metrics"]) for page in pages] == [500, 500]
    assert names == [datum["MetricName"] for datum in data]


MEMBER = "MetricData.member.1"


@pytest.mark.parametrize(
    ("datum", "code", "message"),
    [
        (
            {"Value": 1.0, "Values": [1.0]},
            "InvalidParameterCombination",
            (
                f"The parameters {MEMBER}.Value and {MEMBER}.Values are mutually exclusive and you"
                " have specified both."
            ),
        ),
        (
            {"Values": [1.0], "Counts": [1.0, 2.0]},
            "InvalidParameterValue",
            f"The parameters {MEMBER}.Values and {MEMBER}.Counts must be of the same size.",
        ),
        (
            {"Value": math.nan},
            "InvalidParameterValue",
            f"The value NaN for parameter {MEMBER}.Value is invalid.",
        ),
        (
            {"Value": 2.0**361},
            "InvalidParameterValue",
            f"The value {2.0**361!r} for parameter {MEMBER}.Value is invalid.",
        ),
        (
            {},
            "MissingParameter",
            (
                f"At least one of the parameters {MEMBER}.Value, {MEMBER}.Values and"
                f" {MEMBER}.StatisticValues must be specified."
            ),
        ),
        (
            {"Value": 1.0, "StorageResolution": 5},
            "InvalidParameterValue",
            f"The parameter {MEMBER}.StorageResolution must be 1 or 60.",
        ),
        (
            {"Value": 1.0, "Timestamp": datetime(2020, 1, 1, tzinfo=timezone.utc)},
            "InvalidParameterValue",
            (
                f"The parameter {MEMBER}.Timestamp must specify a time no more than two weeks"
                " in the past."
            ),
        ),
        (
            {"Value": 1.0, "Unit": "Parsecs"},
            "ValidationError",
            (
                "1 validation error detected: Value 'Parsecs' at 'metricData.1.member.unit'"
                " failed to satisfy constraint: Member must satisfy enum value set: [Seconds,"
                " Microseconds, Milliseconds, Bytes, Kilobytes, Megabytes, Gigabytes, Terabytes,"
                " Bits, Kilobits, Megabits, Gigabits, Terabits, Percent, Count, Bytes/Second,"
                " Kilobytes/Second, Megabytes/Second, Gigabytes/Second, Terabytes/Second,"
                " Bits/Second, Kilobits/Second, Megabits/Second, Gigabits/Second, Terabits/Second,"
                " Count/Second, None]"
            ),
        ),
    ],
)
def test_a_datum_that_breaks_a_rule_is_refused_in_aws_s_words(
    cloudwatch: Any, unique: str, datum: dict[str, Any], code: str, message: str
) -> None:
    data = [{"MetricName": "bad", **datum}]
    assert refused(cloudwatch.put_metric_data, Namespace=unique, MetricData=data) == (code, message)
    assert cloudwatch.list_metrics(Namespace=unique)["Metrics"] == []


def test_what_may_not_be_asked_is_refused_in_aws_s_words(cloudwatch: Any, hour: datetime) -> None:
    def statistics(**changes: Any) -> tuple[str, str]:
        parameters = {
            "Namespace": "n",
            "MetricName": "m",
            "StartTime": hour,
            "EndTime": hour + HOUR,
            "Period": 60,
            "Statistics": ["Sum"],
        }
        merged = {**parameters, **changes}
        return refused(
            cloudwatch.get_metric_statistics,
            **{name: value for name, value in merged.items() if value is not None},
        )

    def data(**changes: Any) -> tuple[str, str]:
        item = {**query("n", "m", "Sum"), **changes}
        return refused(
            cloudwatch.get_metric_data,
            MetricDataQueries=[item],
            StartTime=hour,
            EndTime=hour + HOUR,
        )

    assert statistics(Period=1, EndTime=hour + timedelta(days=1)) == (
        "InvalidParameterCombination",
        (
            "You have requested up to 86400 datapoints, which exceeds the limit of 1440. You may"
            " reduce the datapoints requested by increasing Period, or decreasing the time range."
        ),
    )
    assert statistics(EndTime=hour) == (
        "InvalidParameterValue",
        "The parameter StartTime must be less than the parameter EndTime.",
    )
    assert statistics(Statistics=None) == (
        "InvalidParameterCombination",
        "Must specify either Statistics or ExtendedStatistics",
    )
    assert statistics(ExtendedStatistics=["TM99"])[0] == "InvalidParameterValue"
    assert data(MetricStat={**query("n", "m", "Best")["MetricStat"]})[0] == "ValidationError"
    assert data(MetricStat={**query("n", "m", "Sum", 7)["MetricStat"]})[0] == "ValidationError"
    assert refused(
        cloudwatch.get_metric_data,
        MetricDataQueries=[{"Id": "e", "Expression": "a + b"}],
        StartTime=hour,
        EndTime=hour + HOUR,
    ) == (
        "ValidationError",
        "Error in expression 'e': Undefined variable 'a'",
    )
    assert refused(
        cloudwatch.get_metric_data,
        MetricDataQueries=[query("n", "m", "Sum")],
        StartTime=hour,
        EndTime=hour,
    ) == ("ValidationError", "The parameter EndTime must be greater than StartTime.")

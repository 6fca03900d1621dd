"""Metric math, SEARCH and labels through an unmodified client; values are calculated by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.collector.conftest import Collector

MINUTES = 5
Values = list[float | None]  # one per minute of the range, None where there is no point


class Board:
    """A namespace with metrics of one value per minute, and what expressions make of them."""

    def __init__(self, collector: Collector, namespace: str) -> None:
        self.cloudwatch = collector.client("cloudwatch")
        self.namespace = namespace
        now = datetime.now(timezone.utc)
        self.start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)

    def put(self, name: str, values: Values, **dimensions: str) -> dict[str, Any]:
        """Publish the values; gives the metric."""
        metric = {
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        }
        self.cloudwatch.put_metric_data(
            Namespace=self.namespace,
            MetricData=[
                {**metric, "Value": value, "Timestamp": self.start + timedelta(minutes=minute)}
                for minute, value in enumerate(values)
                if value is not None
            ],
        )
        return {"Namespace": self.namespace, **metric}

    def ask(self, *queries: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cloudwatch.get_metric_data(
            MetricDataQueries=list(queries),
            StartTime=self.start,
            EndTime=self.start + timedelta(minutes=MINUTES),
            ScanBy="TimestampAscending",
            **more,
        )["MetricDataResults"]
        return found

    def math(self, expression: str, **metrics: Values) -> list[tuple[str, Values]]:
        """Labels and values that `expression` gives over metrics with these Ids and values."""
        return self.computed(
            expression,
            **{
                name: self.put(f"{self.namespace}-{name}", values)
                for name, values in metrics.items()
            },
        )

    def computed(self, expression: str, **metrics: dict[str, Any]) -> list[tuple[str, Values]]:
        """As `math`, over metrics that are there."""
        stats = [metric_stat(name, metric, ReturnData=False) for name, metric in metrics.items()]
        found = self.ask(*stats, {"Id": "e", "Expression": expression})
        return [(result["Label"], self.by_minute(result)) for result in found]

    def by_minute(self, result: dict[str, Any]) -> Values:
        values: Values = [None] * MINUTES
        for moment, value in zip(result["Timestamps"], result["Values"], strict=True):
            values[round((moment - self.start).total_seconds() / 60)] = value
        return values


def metric_stat(
    query_id: str, metric: dict[str, Any], stat: str = "Sum", **more: Any
) -> dict[str, Any]:
    return {
        "Id": query_id,
        "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat},
        **more,
    }


@pytest.fixture
def board(collector: Collector, unique: str) -> Iterator[Board]:
    board = Board(collector, unique)
    yield board
    board.cloudwatch.close()


M1: Values = [30.0, 20.0, 0.0, 0.0, None]
M2: Values = [20.0, None, 20.0, None, None]


@pytest.fixture(scope="module")
def published(collector: Collector) -> Iterator[tuple[Board, dict[str, Any]]]:
    """The two metrics, once."""
    board = Board(collector, f"math-{collector.process.pid}")
    yield board, {"m1": board.put("m1", M1), "m2": board.put("m2", M2)}
    board.cloudwatch.close()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # The user guide's own tables.
        ("m1 < m2", [0.0, 0.0, 1.0, 0.0, None]),
        ("m1 >= 30", [1.0, 0.0, 0.0, 0.0, None]),
        ("m1 > 15 AND m2 > 15", [1.0, 0.0, 0.0, 0.0, None]),
        ("m1 > 25 || m2 > 15", [1.0, 0.0, 1.0, 0.0, None]),
        # A missing value counts as 0, a division by zero drops the point.
        ("m1 + m2", [50.0, 20.0, 20.0, 0.0, None]),
        ("m2 - m1 * 2", [-40.0, -40.0, 20.0, 0.0, None]),
        ("m1 / m2", [1.5, None, 0.0, None, None]),
        ("100 / m1", [100 / 30, 5.0, None, None, None]),
        ("-m1 ^ 2", [-900.0, -400.0, -0.0, -0.0, None]),
        ("2 ^ -1 * m1", [15.0, 10.0, 0.0, 0.0, None]),
        ("(m1 - 40) ^ 0.5", [None] * 5),
        ("m1 == 20 OR m1 != m1", [0.0, 1.0, 0.0, 0.0, None]),
        ("m1 - AVG(m1)", [17.5, 7.5, -12.5, -12.5, None]),
        ("m1 / MAX(m1) + MIN(m1) + SUM(m2)", [41.0, 40 + 2 / 3, 40.0, 40.0, None]),
        ("m1 - m1 + STDDEV(m2)", [0.0, 0.0, 0.0, 0.0, None]),
        ("m1 * PERIOD(m1) / DATAPOINT_COUNT(m1)", [450.0, 300.0, 0.0, 0.0, None]),
        ("ABS(-m1)", M1),
        ("CEIL(m1 / 7)", [5.0, 3.0, 0.0, 0.0, None]),
        ("FLOOR(m1 / 7)", [4.0, 2.0, 0.0, 0.0, None]),
        ("LOG10(m2 * 5)", [2.0, None, 2.0, None, None]),
        ("LOG(m1 - 20)", [2.302585092994046, None, None, None, None]),
        ("DIFF(m2)", [None, None, 0.0, None, None]),
        ("DIFF(m1)", [None, -10.0, -20.0, 0.0, None]),
        ("DIFF_TIME(m2)", [None, None, 120.0, None, None]),
        ("RATE(m1)", [None, -10 / 60, -20 / 60, 0.0, None]),
        ("RUNNING_SUM(m1)", [30.0, 50.0, 50.0, 50.0, None]),
        ("FILL(m2, 7)", [20.0, 7.0, 20.0, 7.0, 7.0]),
        ("FILL(m2, MIN(m1))", [20.0, 0.0, 20.0, 0.0, 0.0]),
        ("FILL(m2, REPEAT)", [20.0] * 5),
        ("FILL(DIFF(m1) + DIFF(m2), REPEAT)", [None, -10.0, -20.0, 0.0, 0.0]),
        ("FILL(IF(m2, m1), LINEAR)", [30.0, 15.0, 0.0, None, None]),
        ("SUM([m1, m2])", [50.0, 20.0, 20.0, 0.0, None]),
        ("AVG([m1, m2])", [25.0, 10.0, 10.0, 0.0, None]),
        ("MIN([m1, m2])", [20.0, 20.0, 0.0, 0.0, None]),
        ("MAX(METRICS())", [30.0, 20.0, 20.0, 0.0, None]),
        ("STDDEV([m1, m2])", [5.0, 0.0, 10.0, 0.0, None]),
        ("DATAPOINT_COUNT([m1, m2])", [2.0, 1.0, 2.0, 1.0, None]),
        ("SUM(METRICS('2'))", M2),
        ("m1 / METRIC_COUNT(METRICS())", [15.0, 10.0, 0.0, 0.0, None]),
        ("FIRST(SORT(METRICS(), AVG, DESC))", M2),
        ("LAST(SORT(METRICS(), SUM, DESC))", M2),
        ("SUM(SLICE(METRICS(), 1))", M2),
        ("SUM(SLICE(METRICS(), 0, 1))", M1),
        ("TIME_SERIES(MAX(m1))", [30.0] * 5),
        ("TIME_SERIES(3 > 2)", [1.0] * 5),
        ("MINUTE(m2)", [0.0, 1.0, 2.0, 3.0, 4.0]),
        ("EPOCH(m2) - EPOCH(m2)", [0.0] * 5),
        ("IF(m1 < 25, m1)", [None, 20.0, 0.0, 0.0, None]),
        ("IF(m1 < 25, 10, 2)", [2.0, 10.0, 10.0, 10.0, None]),
        ("IF(1, m2, m1)", M2),
        ("IF(0, m2)", [None] * 5),
    ],
)
def test_an_expression_has_the_value_that_aws_gives_it(
    published: tuple[Board, dict[str, Any]], expression: str, expected: Values
) -> None:
    board, metrics = published
    ((label, values),) = board.computed(expression, **metrics)
    assert label == "e"
    assert values == pytest.approx(expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [  # the user guide's tables of "Using IF expressions"
        ("IF(metric1, metric2, metric3)", [30.0, 0.0, 20.0, None, None]),
        ("IF(metric1, 5, metric3)", [5.0, 5.0, 20.0, None, None]),
        ("IF(metric1, metric2, 5)", [30.0, 0.0, 5.0, 5.0, None]),
    ],
)
def test_if_chooses_as_the_user_guide_shows(
    board: Board, expression: str, expected: Values
) -> None:
    found = board.math(
        expression,
        metric1=[1.0, 1.0, 0.0, 0.0, None],
        metric2=[30.0, None, 0.0, 0.0, 30.0],
        metric3=[0.0, 0.0, 20.0, None, 20.0],
    )
    assert found == [("e", expected)]


def test_an_array_gives_a_result_for_each_of_its_series(board: Board, unique: str) -> None:
    assert board.math("[m2, m1] * 2", m1=M1, m2=M2) == [
        (f"{unique}-m2", [40.0, None, 40.0, None, None]),
        (f"{unique}-m1", [60.0, 40.0, 0.0, 0.0, None]),
    ]
    assert board.math("FILL(METRICS(), m1)", m1=M1, m2=M2) == [
        (f"{unique}-m1", [60.0, 40.0, 0.0, 0.0, None]),  # what is published twice adds up
        (f"{unique}-m2", [40.0, 40.0, 40.0, 0.0, None]),
    ]
    assert board.math("REMOVE_EMPTY([IF(0, m1), m2])", m1=M1, m2=M2) == [
        (f"{unique}-m2", [60.0, None, 60.0, None, None])
    ]


def test_expressions_refer_to_each_other_in_any_order(board: Board) -> None:
    metric = board.put("m", [1.0, 2.0, 3.0, 4.0, 5.0])
    found = board.ask(
        {"Id": "third", "Expression": "second + first"},
        {"Id": "second", "Expression": "first * 10", "ReturnData": False},
        {"Id": "first", "Expression": "m + 1", "Label": "One more"},
        metric_stat("m", metric, ReturnData=False),
    )
    assert [(result["Label"], result["Values"]) for result in found] == [
        ("third", [22.0, 33.0, 44.0, 55.0, 66.0]),
        ("One more", [2.0, 3.0, 4.0, 5.0, 6.0]),
    ]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("m1 +", "Invalid syntax: the expression ends too early"),
        ("m1 & 2", "Invalid syntax at character 4: '& 2'"),
        ("m9", "Undefined variable 'm9'"),
        ("e + 1", "The expression refers to itself"),
        ("avg(m1)", "Invalid syntax at character 4: '(m1)'"),
        ("MEDIAN(m1)", "Unknown function 'MEDIAN'"),
        (
            "AVG(m1)",
            (
                "The expression gives a Scalar: its result must be a single time series or an"
                " array of time series"
            ),
        ),
        (
            "[m1] + [m1]",
            "Unsupported operand type(s) for +: 'Array[TimeSeries]' and 'Array[TimeSeries]'",
        ),
        ("FILL(m1, m1)", "Function FILL does not take the arguments (TimeSeries, TimeSeries)"),
        ("SORT(m1, AVG, DESC)", "Function SORT does not take the arguments"),
        ("PERIOD(m1 + 1) * m1", "Function PERIOD takes a metric, not the result of an expression"),
        ("m1 + REPEAT", "'REPEAT' is no value"),
        ("SLICE([m1], -1)", "Function SLICE takes whole numbers from 0, not -1"),
        (
            "ANOMALY_DETECTION_BAND(m1)",
            (
                "The function ANOMALY_DETECTION_BAND is not supported: no anomaly detection model"
                " is trained here"
            ),
        ),
        ("INSIGHT_RULE_METRIC('r', 'Sum')", "The function INSIGHT_RULE_METRIC is not supported"),
        ("SELECT AVG(m) FROM n", "Metrics Insights queries (SELECT) are not supported"),
        ("SEARCH('', 'Sum')", "SEARCH: A search expression needs a metric schema or a search term"),
        ("SEARCH('{', 'Sum')", "SEARCH: Invalid search expression"),
        ("SEARCH('a', 'Best')", "SEARCH: 'Best' is no statistic"),
        ("SEARCH('a', 'Sum', 7)", "SEARCH: the period must be"),
        ("-" * 100 + "m1", "nested deeper than 64 levels"),
    ],
)
def test_an_expression_that_has_no_value_is_refused_with_the_reason(
    board: Board, expression: str, reason: str
) -> None:
    metric = {"Namespace": board.namespace, "MetricName": "m"}
    with pytest.raises(ClientError) as caught:
        board.ask(metric_stat("m1", metric), {"Id": "e", "Expression": expression})
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationError"
    assert error["Message"].startswith(f"Error in expression 'e': {reason}")


class Names:
    """Which of the metrics of a namespace a search expression finds."""

    def __init__(self, board: Board) -> None:
        self.board = board
        for name, dimensions in (
            ("CustomCount1", {}),
            ("Network-Errors_2", {"InstanceType": "t2.micro"}),
            ("NetworkErrors2", {"InstanceType": "t2.large", "Zone": "a"}),
            ("SDBFailure", {"Dimension@Name": "x y(z)"}),
        ):
            board.put(name, [1.0], **dimensions)

    def found(self, terms: str, schema: str = "{NS}") -> list[str]:
        schema = schema.replace("NS", f'"{self.board.namespace}"')
        expression = f"SEARCH('{schema} {terms}', 'Sum', 60)"
        results = self.board.ask(
            {"Id": "e", "Expression": expression, "Label": "${PROP('MetricName')}"}
        )
        return sorted(result["Label"] for result in results)


@pytest.fixture(scope="module")
def names(collector: Collector) -> Names:
    return Names(Board(collector, f"search-{collector.process.pid}"))


@pytest.mark.parametrize(
    ("schema", "terms", "expected"),
    [
        ("{NS}", "", ["CustomCount1"]),
        ("{NS, InstanceType}", "", ["Network-Errors_2"]),
        ("{NS, Zone, InstanceType}", "", ["NetworkErrors2"]),
        ('{NS, "Dimension@Name"}', "", ["SDBFailure"]),
        ("{NS}", "count", ["CustomCount1"]),
        ("{NS}", "COUNT", ["CustomCount1"]),
        ("{NS}", "couNT", []),
        ("{NS}", "CustomCount", ["CustomCount1"]),
        ("{NS}", "Count1", ["CustomCount1"]),
        ("{NS}", "customcount", []),
        ("{NS}", "count1", []),
        ("{NS},", '"CustomCount1"', ["CustomCount1"]),
        ("{NS}", '"Custom"', []),
        ("Namespace=NS", "network/errors", ["Network-Errors_2", "NetworkErrors2"]),
        ("Namespace=NS", "Network_Errors", ["Network-Errors_2", "NetworkErrors2"]),
        ("Namespace=NS", '"Network-Errors_2"', ["Network-Errors_2"]),
        ("Namespace=NS", "failure OR count", ["CustomCount1", "SDBFailure"]),
        ("Namespace=NS", "SDB failure", ["SDBFailure"]),
        ("Namespace=NS", "sdb AND count", []),
        ("Namespace=NS", "NOT network NOT sdb", ["CustomCount1"]),
        ("Namespace=NS", "NOT (network OR sdb)", ["CustomCount1"]),
        ("Namespace=NS", "network (micro OR Zone)", ["Network-Errors_2", "NetworkErrors2"]),
        ("Namespace=NS", "InstanceType=micro", ["Network-Errors_2"]),
        ("Namespace=NS", 'InstanceType="t2"', []),
        ("Namespace=NS", 'InstanceType="t2.large"', ["NetworkErrors2"]),
        ("Namespace=NS", "MetricName=Zone", []),
        ("Namespace=NS", "Zone", ["NetworkErrors2"]),
        ("Namespace=NS", '"x y\\(z\\)"', ["SDBFailure"]),
        ("Namespace=NS", ":aws.AccountId=123456789012 sdb", ["SDBFailure"]),
        ("Namespace=NS", "123456789012", []),
    ],
)
def test_search_finds_what_the_user_guide_says(
    names: Names, schema: str, terms: str, expected: list[str]
) -> None:
    assert names.found(terms, schema) == expected


def test_the_series_of_a_search_are_told_apart_by_their_dimensions(board: Board) -> None:
    for name, value in (("orders", 1.0), ("bills", 2.0)):
        board.put("Errors", [value], FunctionName=name, Stage="live")
    found = board.ask(
        {
            "Id": "e",
            "Expression": f"SEARCH('{{\"{board.namespace}\", Stage, FunctionName}}', 'Sum', 60)",
        }
    )
    assert [(result["Id"], result["Label"], result["Values"]) for result in found] == [
        ("e", "bills", [2.0]),
        ("e", "orders", [1.0]),
    ]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("plain $ {x}", "plain $ {x}"),
        ("${LABEL} of ${PROP('Dim.Stage')}", "Errors of live"),
        ("${AVG} ${SUM} ${MIN} ${MAX} ${DATAPOINT_COUNT}", "2.5 10 1 4 4"),
        ("${FIRST} ${LAST} ${MIN_MAX_RANGE} ${FIRST_LAST_RANGE}", "3 2 3 -1"),
        ("${MIN_TIME} | ${MAX_TIME}", "{1} | {2}"),
        ("${FIRST_TIME} | ${LAST_TIME}", "{0} | {3}"),
        ("${MIN_MAX_TIME_RANGE} ${FIRST_LAST_TIME_RANGE}", "1m 3m"),
        (
            (
                "${PROP('AccountId')} ${PROP('Region')} ${PROP('MetricName')} ${PROP('Stat')}"
                ' ${PROP("Period")}'
            ),
            "123456789012 eu-west-1 Errors Sum 60",
        ),
    ],
)
def test_a_dynamic_label_shows_the_values_of_its_series(
    board: Board, label: str, expected: str
) -> None:
    metric = board.put("Errors", [3.0, 1.0, 4.0, 2.0], Stage="live")
    (result,) = board.ask(metric_stat("m", metric, Label=label), LabelOptions={"Timezone": "+0130"})
    zone = timezone(timedelta(hours=1, minutes=30))
    for minute in range(4):
        moment = (board.start + timedelta(minutes=minute)).astimezone(zone)
        expected = expected.replace(f"{{{minute}}}", f"{moment:%Y-%m-%d %H:%M:%S}")
    assert result["Label"] == expected


@pytest.mark.parametrize("label", ["${BEST}", "${PROP('Colour')}", "${LABEL}${LABEL}"])
def test_an_unknown_dynamic_label_is_refused(board: Board, label: str) -> None:
    metric = board.put("Errors", [1.0])
    with pytest.raises(ClientError) as caught:
        board.ask(metric_stat("m", metric, Label=label))
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_labels_say_what_tells_metrics_of_one_name_apart(board: Board) -> None:
    metric = board.put("Errors", [1.0], Stage="live")
    other = board.put("Errors", [1.0], Stage="test")
    alone = board.put("Calls", [1.0])
    found = board.ask(
        metric_stat("a", metric),
        metric_stat("b", metric, "p50"),
        metric_stat("c", other),
        metric_stat("d", alone),
    )
    assert [result["Label"] for result in found] == [
        "Errors Sum live",
        "Errors p50 live",
        "Errors Sum test",
        "Calls",
    ]


def test_what_is_another_account_s_is_forbidden(board: Board) -> None:
    metric = board.put("Errors", [1.0])
    own, other = board.ask(
        metric_stat("a", metric, AccountId="123456789012"),
        metric_stat("b", metric, AccountId="210987654321"),
    )
    assert (own["StatusCode"], own["Values"]) == ("Complete", [1.0])
    assert (other["StatusCode"], other["Values"]) == ("Forbidden", [])

"""What the README's table lists works or is refused; each function gives what AWS documents."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace_collector.logs.insights.aggregates import AGGREGATES
from lambdatrace_collector.logs.insights.functions import FUNCTION_NAMES, FUNCTIONS
from lambdatrace_collector.logs.insights.parser import REFUSED_COMMANDS, parse_query
from lambdatrace_collector.logs.insights.planner import plan_query
from lambdatrace_collector.logs.insights.results import java_double, shown_rows
from lambdatrace_collector.logs.insights.selection import Selection
from lambdatrace_collector.logs.insights.syntax import QuerySyntaxError
from lambdatrace_collector.store.engine import open_store
from lambdatrace_collector.store.url import parse_store_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace_collector.store.engine import Store
    from tests.collector.conftest import ClickHouse

README = Path(__file__).parents[2] / "README.md"
COMMANDS = {
    "fields": "fields a",
    "display": "display a",
    "filter": "filter n = 4.5",
    "where": "where n = 4.5",
    "parse": "parse a 'x*' as b",
    "stats": "stats count(*)",
    "sort": "sort a",
    "limit": "limit 1",
    "dedup": "dedup a",
    "unnest": "unnest a into b",
    "unmask": "unmask a",
    "pattern": "pattern a",
    "diff": "diff",
    "addtotals": "addtotals",
    "SOURCE": "SOURCE logGroups() | limit 1",
}
EVENT = {
    "n": 4.5,
    "s": "xyZfooxyZ",
    "ip": "10.1.2.3",
    "empty": "",
    "list": [{"k": "a"}, {"k": "b"}],
    "deep": {"a": {"b": {"c": {"d": "five", "e": {"f": "six"}}}}},
    "dotted": {"http.status": 404},
}
AT_MS = 1_795_268_096_789  # 2026-11-21 13:34:56.789
# Expression: its value; None when it is missing.
VALUES = {
    "abs(-3)": "3",
    "ceil(1.2)": "2",
    "floor(-1.5)": "-2",
    "greatest(1, n, 3)": "4.5",
    "least(4, n)": "4",
    "log(1)": "0",
    "sqrt(16)": "4",
    "sqrt(-1)": None,
    "1 / 0": None,
    "2 + 3 * 4 ^ 2 % 5": "5",
    "-n + 1": "-3.5",
    "now()": "1800000000",
    "bin(5m)": "2026-11-21 13:30:00.000",
    "bin(1w)": "2026-11-16 00:00:00.000",
    "bin(1q)": "2026-10-01 00:00:00.000",
    "datefloor(@timestamp, 1h)": "2026-11-21 13:00:00.000",
    "dateceil(@timestamp, 1h)": "2026-11-21 14:00:00.000",
    "dateceil(@timestamp, 1mo)": "2026-12-01 00:00:00.000",
    "fromMillis(1500)": "1970-01-01 00:00:01.500",
    "toMillis(@timestamp)": str(AT_MS),
    "ispresent(n)": "1",
    "ispresent(nothing)": "0",
    "coalesce(nothing, s)": "xyZfooxyZ",
    "isempty(empty)": "1",
    "isempty(nothing)": "1",
    "isblank(' ')": "1",
    "concat(s, '-', n)": "xyZfooxyZ-4.5",
    "concat(s, nothing)": None,
    "ltrim(s, 'xyZ')": "fooxyZ",
    "rtrim(s, 'xyZ')": "xyZfoo",
    "trim(s, 'xyZ')": "foo",
    "trim('  a ')": "a",
    "strlen('é☃')": "2",
    "toupper('é')": "É",
    "tolower(s)": "xyzfooxyz",
    "substr(s, 3)": "fooxyZ",
    "substr(s, 3, 3)": "foo",
    "replace('foo', 'o', '0')": "f00",
    "strcontains(s, 'foo')": "1",
    "strcontains(s, 'bar')": "0",
    "jsonStringify(jsonParse('{\"a\":[1]}'))": '{"a":[1]}',
    "isValidIp(ip)": "1",
    "isValidIpv4(s)": "0",
    "isValidIpv6('fe80::1')": "1",
    "isIpInSubnet(ip, '10.0.0.0/8')": "1",
    "isIpv4InSubnet(s, '10.0.0.0/8')": "0",
    "isIpv6InSubnet('fe80::1', 'fe80::/10')": "1",
    "unmask(s)": "xyZfooxyZ",
    "s like 'foo'": "1",
    "s like /(?i)FOO/": "1",
    "s =~ /^foo/": "0",
    "n in ['4.50', 5]": "1",
    "n not in [4.5]": "0",
    "list.1.k": "b",
    "list[0].k": "a",
    "deep.a.b.c.d": "five",
    "deep.a.b.c.e.f": None,
    "deep.a": None,
    "dotted.http.status": "404",
    "@log": "1:g",
    # A unit's count has a most, as on AWS.
    "bin(300s)": "2026-11-21 13:34:00.000",
    "bin(90m)": "2026-11-21 13:00:00.000",
    "bin(36h)": "2026-11-21 00:00:00.000",
    "datefloor(@timestamp, 2000ms)": "2026-11-21 13:34:56.000",
    "dateceil(@timestamp, 120m)": "2026-11-21 14:00:00.000",
    "round(2.5)": "3",
    "round(-2.5)": "-3",
    "round(1.2345, 2)": "1.23",
    "round(1250, -2)": "1300",
    "round(1, 400)": None,
    "round(s)": None,
    "toNumber('1e3')": "1000",
    "toNumber(s)": None,
    "toInt('-7.9')": "-7",
    "toInt(3000000000)": None,
    "toLong(3000000000.5)": "3000000000",
    "toDouble('.5')": "0.5",
    "floor(haversine(52.52, 13.405, 48.8566, 2.3522))": "877",  # Berlin to Paris
    "haversine(0, 0, 0, 180) > 20015": "1",
    "haversine(0, 0, nothing, 0)": None,
    "case(n > 5, 'big', n > 4, 'middle', 'small')": "middle",
    "case(n > 5, 'big', nothing > 1, 'middle')": None,
    "case(n > 5, 1, 2) + 1": "3",
    "if(n > 4, 'yes', 'no')": "yes",
    "if(nothing = 1, 'yes', 'no')": "no",
    "if(n > 4, n, s)": "4.5",
    "isNumeric(n)": "1",
    "isNumeric(s)": "0",
    "isNumeric(nothing)": "0",
    "messageSize('é')": "2",
    "messageSize(nothing)": None,
    "queryStartTime()": "0",
    "queryEndTime()": str(2**42),
    "queryTimeRange()": str(2**42),
    "jsonArraySize('[1,[2,3],null]')": "3",
    "jsonArraySize('{}')": None,
    "jsonArraySize(jsonParse('[1]'))": "1",
    "jsonArrayContains('[\"a\", 7]', 'a')": "1",
    "jsonArrayContains('[\"a\", 7]', '7')": "1",
    "jsonArrayContains('[\"a\"]', 'A')": "0",
    "jsonArrayContains('[]', '')": "0",
    "jsonArrayContains(s, 'a')": "0",
    "jsonArrayContains(nothing, 'a')": "0",
    "ipv4ToNumber('10.0.0.1')": "167772161",
    "ipv4ToNumber('::1')": None,
    "isPrivateIP(ip)": "1",
    "isPrivateIP('172.31.255.255')": "1",
    "isPrivateIP('172.32.0.0')": "0",
    "strcontains(s, 'FOO', true)": "1",
    "strcontains(s, 'FOO', false)": "0",
    "startsWith(s, 'xyZ')": "1",
    "startsWith(s, 'foo')": "0",
    "endsWith(s, 'xyZ')": "1",
    "endsWith(nothing, 'x')": None,
    "regexReplace(s, '[xy]+Z', '-')": "-foo-",
    "regexReplace('a1b22', '([0-9]+)', '<\\1>')": "a<1>b<22>",
    "md5('a')": "0cc175b9c0f1b6a831c399e269772661",
    "sha256('a')": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    "md5(nothing)": None,
    "base64encode('é')": "w6k=",
    "base64decode('w6k=')": "é",
    "base64decode('*')": None,
    "urlencode('a b/é')": "a%20b%2F%C3%A9",
    "urldecode('a%20b%2F')": "a b/",
    "hexToAscii('48656c6c6f')": "Hello",
    "hexToAscii('xyz')": None,
    "hexToDec('0xff')": "255",
    "hexToDec('-0x10')": "-16",
    "hexToDec('g')": None,
    "decToHex(255)": "0xff",
    "decToHex(-255.9)": "-0xff",
    "decToHex(0)": "0x0",
    "split('a,b', ',')": '["a","b"]',
    "jsonArraySize(split('a,b', ','))": "2",
    "split(nothing, ',')": None,
}


@pytest.fixture(scope="module")
def store(clickhouse: ClickHouse) -> Iterator[Store]:
    opened = open_store(parse_store_url(clickhouse.url))
    row = {"account": "1", "region": "r", "log_group": "g", "timestamp_ms": AT_MS}
    body = json.dumps({**row, "message": json.dumps(EVENT)}).encode()
    asyncio.run(opened.insert("log_events", body, "JSONEachRow"))
    for place in range(1, 5):
        value = {
            "v": place * 10,
            "t": f"item{place + 7}",
            "same": "x",
            "m": f"order {place} failed",
        }
        several = {**row, "log_group": "h", "event_id": str(place), "timestamp_ms": place}
        several["message"] = json.dumps(value)
        asyncio.run(opened.insert("log_events", json.dumps(several).encode(), "JSONEachRow"))
    yield opened
    opened.close()


def results(store: Store, text: str, group: str = "g") -> list[dict[str, str]]:
    selection = Selection("1", "r", (group,), 0, 2**42, 1_800_000_000)
    plan = plan_query(parse_query(text), text, selection, 1000)
    rows: list[dict[str, Any]] = asyncio.run(store.query_compiled(plan.select))
    return [
        {item["field"]: item["value"] for item in row if item["field"] != "@ptr"}
        for row in shown_rows(plan, rows)
    ]


def test_functions_and_operators_give_what_is_documented(store: Store) -> None:
    columns = ", ".join(f"{written} as c{place}" for place, written in enumerate(VALUES))
    [row] = results(store, f"display {columns}")
    assert {written: row.get(f"c{place}") for place, written in enumerate(VALUES)} == VALUES


# A value of each kind, constant or not, and what is no value.
ARGUMENTS = ("n", "s", "nothing", "'a'", "''", "-2.5", "1e300", "@timestamp", "n > 1", "true", "5m")
JSON_ARGUMENTS = ("jsonParse(@message)", "jsonParse(@message).list", "@message", "'10.0.0.0/8'")

# Tried of each function and number of arguments; more are tried when told.
CALLS = int(os.environ.get("LAMBDATRACE_TEST_EXAMPLES", "8"))
# What several functions take alone, after their first value.
CONSTANTS = ("'a'", "5m", "'10.0.0.0/8'", "'fe80::/10'")


def calls_of(name: str, chance: Random) -> list[str]:
    """Some calls of a function that are not refused, with arguments of any kind."""
    function = FUNCTIONS.get(name)
    most = 3 if function is None else min(function.at_most or 3, 5)
    selection = Selection("1", "r", ("g",), 0, 2**42, 0)
    found = []
    for count in range(function.at_least if function else 0, most + 1):
        for number in range(CALLS):
            chosen = chance.choices((*ARGUMENTS, *JSON_ARGUMENTS), k=count)
            if number % 2:
                chosen[1:] = [CONSTANTS[number // 2 % len(CONSTANTS)]] * (count - 1)
            written = f"{name}({', '.join(chosen)})"
            try:
                plan_query(parse_query(f"display {written}"), f"display {written}", selection, 1)
            except QuerySyntaxError:
                continue
            found.append(written)
    return found


def test_a_function_that_is_not_refused_takes_values_of_any_kind(store: Store) -> None:
    chance = Random(6)
    calls = [written for name in sorted(FUNCTION_NAMES) for written in calls_of(name, chance)]
    assert {written.partition("(")[0] for written in calls} == FUNCTION_NAMES
    for start in range(0, len(calls), 40):
        part = calls[start : start + 40]
        columns = ", ".join(f"{written} as c{place}" for place, written in enumerate(part))
        assert len(results(store, f"display {columns}")) == 1, part


def test_aggregates_give_what_is_documented(store: Store) -> None:
    aggregates = {
        "count(*)": "4",
        "count(v)": "4",
        "count_distinct(same)": "1",
        "avg(v)": "25",
        "sum(v)": "100",
        "min(v)": "10",
        "max(v)": "40",
        "pct(v, 50)": "25",
        "floor(stddev(v))": "12",
        "earliest(v)": "10",
        "latest(v)": "40",
        "sortsFirst(t)": "item8",
        "sortsLast(t)": "item11",
    }
    assert results(store, f"stats {', '.join(aggregates)}", "h") == [aggregates]


def test_commands_change_the_records_one_after_the_other(store: Store) -> None:
    query = """
        parse t 'item*' as place
        | filter place > 8
        | stats sum(v) as total, count(*) as n by same  # one row
        | stats max(total) as most, max(n) as rows
        | addtotals fieldname=both
    """
    assert results(store, query, "h") == [{"most": "90", "rows": "3", "both": "93"}]


def test_unnest_makes_a_record_of_each_item(store: Store) -> None:
    query = "fields jsonParse(@message) as js | unnest js.list into item | display item.k, n"
    assert results(store, query) == [{"item.k": "a", "n": "4.5"}, {"item.k": "b", "n": "4.5"}]


def test_dedup_keeps_the_first_in_the_sort_order_and_what_misses_the_field(store: Store) -> None:
    first = results(store, "fields v | sort v desc | dedup same", "h")
    assert first == [{"v": "40"}]
    assert len(results(store, "fields v | dedup nothing", "h")) == 4


def test_sort_puts_text_in_natural_order(store: Store) -> None:
    sorted_rows = results(store, "display t | sort t asc", "h")
    assert [row["t"] for row in sorted_rows] == ["item8", "item9", "item10", "item11"]


def test_pattern_groups_by_what_does_not_vary(store: Store) -> None:
    pattern = {"@pattern": "order <*> failed", "@ratio": "1", "@sampleCount": "4"}
    assert results(store, "pattern m", "h") == [{**pattern, "@severityLabel": "ERROR"}]


def test_column_totals_are_the_last_row(store: Store) -> None:
    query = "stats sum(v) as total by t | sort t asc | limit 2 | addtotals row=false col=true total"
    assert results(store, query, "h") == [
        {"t": "item8", "total": "10"},
        {"t": "item9", "total": "20"},
        {"total": "30"},
    ]


@pytest.mark.parametrize("value", [1395.0, 1.28e8, 0.0, 7.9e7, 0.00012, 9999999.0, -2.5e10])
def test_java_s_way_to_write_a_double_reads_back(value: float) -> None:
    assert float(java_double(value)) == value
    assert re.fullmatch(r"-?\d+\.\d+(E-?\d+)?", java_double(value))


def test_the_readme_s_table_lists_commands_and_functions() -> None:
    section = README.read_text().partition("### Logs Insights\n")[2].partition("\n## ")[0]
    rows = {
        cells[1].strip(): [set(re.findall(r"`(\w+)`", cell)) for cell in cells[2:4]]
        for line in section.splitlines()
        if len(cells := line.split("|")) > 4
    }
    assert rows["commands"] == [set(COMMANDS), set(REFUSED_COMMANDS)]
    assert rows["functions"][0] == FUNCTION_NAMES
    assert rows["of `stats`"][0] == AGGREGATES


@pytest.mark.parametrize("text", COMMANDS.values())
def test_a_listed_command_works(store: Store, text: str) -> None:
    assert results(store, text)


@pytest.mark.parametrize("name", REFUSED_COMMANDS)
def test_a_refused_command_is_refused_by_name(name: str) -> None:
    with pytest.raises(QuerySyntaxError, match=f"'{name}' is not supported by this collector"):
        parse_query(f"fields a | {name} b")


@pytest.mark.parametrize(
    "text",
    [
        "limit " + "5" * 9000,
        "stats count(*) by bin(" + "5" * 9000 + "m)",
        "fields a" + ".a" * 4000,
        "limit \u0663",  # a digit, but not one of ours
        "stats count(*) by bin(\u0663m)",
    ],
)
def test_numbers_of_thousands_of_digits_or_of_other_scripts_are_refused(text: str) -> None:
    with pytest.raises(QuerySyntaxError):
        parse_query(text)


def stored(store: Store, group: str, messages: dict[int, list[str]]) -> None:
    """Events of a group, by the millisecond they are of."""
    lines = [
        json.dumps(
            {
                "account": "1",
                "region": "r",
                "log_group": group,
                "timestamp_ms": at_ms,
                "event_id": str(at_ms * 100 + place),
                "message": message,
            }
        )
        for at_ms, several in messages.items()
        for place, message in enumerate(several)
    ]
    asyncio.run(store.insert("log_events", "\n".join(lines).encode(), "JSONEachRow"))


HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MARCH_31_MS = 1_774_965_600_000  # 2026-03-31 14:00, an hour of queries
# Where the compared hour begins, for each way to write the command.
PERIODS = {
    "diff": MARCH_31_MS - HOUR_MS,
    "diff previousDay": MARCH_31_MS - DAY_MS,
    "DIFF PREVIOUSWEEK": MARCH_31_MS - 7 * DAY_MS,
    "diff previousMonth": MARCH_31_MS - 31 * DAY_MS,  # February 28, the last day of its month
}


def compared(store: Store, text: str, group: str) -> list[tuple[str, ...]]:
    """The rows of a query of the hour, without their severity."""
    selection = Selection("1", "r", (group,), MARCH_31_MS, MARCH_31_MS + HOUR_MS - 1, 0)
    plan = plan_query(parse_query(text), text, selection, 1000)
    rows = shown_rows(plan, asyncio.run(store.query_compiled(plan.select)))
    names = ["@pattern", "@sampleCount", "@diffEventCount", "@differenceDescription"]
    for row in rows:
        assert [item["field"] for item in row] == [*names, "@severityLabel"]
    return [tuple(item["value"] for item in row[:-1]) for row in rows]


@pytest.mark.parametrize(("text", "earlier_ms"), PERIODS.items())
def test_diff_compares_with_the_range_of_the_same_length_before_or_a_period_ago(
    store: Store, text: str, earlier_ms: int
) -> None:
    group = text
    outside = {earlier_ms - 1: ["old 1"], earlier_ms + HOUR_MS: ["new 1"]}
    now = {MARCH_31_MS + 5: ["took 1 ms", "took 2 ms", "took 3 ms", "a new one", "as ever"]}
    earlier = {earlier_ms: ["took 9 ms", "took 8 ms"], earlier_ms + HOUR_MS - 1: ["as ever", "x 1"]}
    if earlier_ms + HOUR_MS == MARCH_31_MS:
        del outside[MARCH_31_MS]
    stored(store, group, {**outside, **now, **earlier})
    assert compared(store, text, group) == [
        ("a new one", "1", "1", "new"),
        ("took <*> ms", "3", "1", "+50%"),
        ("x <*>", "0", "-1", "gone"),
        ("as ever", "1", "0", "same"),
    ]


def test_both_ranges_of_diff_go_through_the_commands_before_it(store: Store) -> None:
    earlier_ms = MARCH_31_MS - HOUR_MS
    stored(
        store,
        "diff commands",
        {
            MARCH_31_MS: ["user a: slow 1", "user b: fast 1", "user c: slow 3"],
            earlier_ms: ["user a: slow 1", "user b: slow 2", "user b: slow 3", "user b: fast 1"],
        },
    )
    parsed = "parse @message 'user *: *' as user, text | filter text like 'slow'"
    assert compared(store, f"{parsed} | pattern text | diff", "diff commands") == [
        ("slow <*>", "2", "-1", "-33%")
    ]
    assert compared(store, f"{parsed} | limit 1 | diff", "diff commands") == [
        ("user b: slow <*>", "0", "-1", "gone"),
        ("user c: slow <*>", "1", "1", "new"),
    ]
    after = "diff | filter @diffEventCount < 0 | sort @pattern desc | limit 1"
    assert compared(store, after, "diff commands") == [("user b: slow <*>", "0", "-2", "gone")]


@pytest.mark.parametrize("before", ["stats count(*)", "diff"])
def test_diff_is_of_events_or_their_patterns_and_of_nothing_else(before: str) -> None:
    text = f"{before} | diff"
    with pytest.raises(QuerySyntaxError) as refusal:
        plan_query(parse_query(text), text, Selection("1", "r", ("g",), 0, 1, 0), 1)
    assert refusal.value.message == "diff cannot follow stats or diff"
    assert text[refusal.value.span.start : refusal.value.span.end] == "diff"
    assert refusal.value.span.start > 0

from __future__ import annotations

import pytest

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.filter_pattern import (
    AllOf,
    AnyOf,
    Comparison,
    Existence,
    Field,
    FieldsPattern,
    FilterPattern,
    JsonPattern,
    Literal,
    Number,
    Regex,
    Terms,
    Text,
    parse_filter_pattern,
    parse_selector,
    shown_selector,
)


def texts(*values: str) -> tuple[Text, ...]:
    return tuple(Text(value) for value in values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Terms()),
        ('" "', Terms()),
        ("ERROR", Terms(every=texts("ERROR"))),
        ("a  b", Terms(every=texts("a", "b"))),
        ('"a b" c', Terms(every=texts("a b", "c"))),
        (r'"say \"hi\""', Terms(every=texts('say "hi"'))),
        ("?a ?b", Terms(some=texts("a", "b"))),
        ("a -b", Terms(every=texts("a"), no=texts("b"))),
        ('-"x y"', Terms(no=texts("x y"))),
        ("a ?b", Terms(every=texts("a"))),
        ("-a ?b", Terms(no=texts("a"))),
        (r"%\d+ms% a", Terms(every=(Regex(r"\d+ms"), Text("a")))),
        ("?%a.% ?b", Terms(some=(Regex("a."), Text("b")))),
        ("-%^a$%", Terms(no=(Regex("^a$"),))),
        ("%[[:digit:]]%", Terms(every=(Regex("[[:digit:]]"),))),
    ],
)
def test_terms_are_read(text: str, expected: FilterPattern) -> None:
    assert parse_filter_pattern(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{$.a=1}", Comparison("=", Number(1.0, "1"), ("a",))),
        ("{ $.a[0].b-c >= -1.5e3 }", Comparison(">=", Number(-1500.0, "-1.5e3"), ("a", 0, "b-c"))),
        ('{ $["a \\"b"][\'c\'] = x }', Comparison("=", Text("x"), ('a "b', "c"))),
        ("{ $.ip != 123.123.* }", Comparison("!=", Text("123.123.", any_after=True), ("ip",))),
        ('{ $.a = "*x*" }', Comparison("=", Text("x", any_before=True, any_after=True), ("a",))),
        ("{ $.a = Ev*ent }", Comparison("=", Text("Ev*ent"), ("a",))),
        ("{ $.a = %x.y% }", Comparison("=", Regex("x.y"), ("a",))),
        ("{ $.a = * }", Existence(("a",), is_there=True)),
        ("{ $.a NOT EXISTS }", Existence(("a",), is_there=False)),
        ("{ $.a IS NULL }", Literal(("a",), "null")),
        ("{ $.a IS TRUE }", Literal(("a",), "true")),
        ("{ $.a IS FALSE }", Literal(("a",), "false")),
        (
            "{ $.a = x || $.b = y && ($.c = z || $.d = w) }",
            AnyOf(
                (
                    Comparison("=", Text("x"), ("a",)),
                    AllOf(
                        (
                            Comparison("=", Text("y"), ("b",)),
                            AnyOf(
                                (
                                    Comparison("=", Text("z"), ("c",)),
                                    Comparison("=", Text("w"), ("d",)),
                                )
                            ),
                        )
                    ),
                )
            ),
        ),
    ],
)
def test_conditions_on_json_are_read(text: str, expected: object) -> None:
    assert parse_filter_pattern(text) == JsonPattern(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", FieldsPattern((), ())),
        ("[...]", FieldsPattern((), ())),
        ("[ip, user]", FieldsPattern((Field("ip"), Field("user")))),
        ("[ip, ..., size]", FieldsPattern((Field("ip"),), (Field("size"),))),
        (
            "[..., request = *html*, status = 4*,]",
            FieldsPattern(
                (),
                (
                    Field(
                        "request", Comparison("=", Text("html", any_before=True, any_after=True))
                    ),
                    Field("status", Comparison("=", Text("4", any_after=True))),
                    Field(),
                ),
            ),
        ),
        (
            "[w1 = ERROR || w1 = %^W%, w2 > 10 && w2 != 404]",
            FieldsPattern(
                (
                    Field(
                        "w1",
                        AnyOf((Comparison("=", Text("ERROR")), Comparison("=", Regex("^W")))),
                    ),
                    Field(
                        "w2",
                        AllOf(
                            (
                                Comparison(">", Number(10.0, "10")),
                                Comparison("!=", Number(404.0, "404")),
                            )
                        ),
                    ),
                )
            ),
        ),
    ],
)
def test_space_delimited_fields_are_read(text: str, expected: FilterPattern) -> None:
    assert parse_filter_pattern(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"open', "Invalid character(s) in term '\"open' at character 1"),
        ('a ""', "Invalid character(s) in term '\"\"' at character 2"),
        ("a%b", "Invalid character(s) in term '%b' at character 2"),
        ("?", "Invalid character(s) in term '?' at character 1"),
        ("%é%", "Invalid character(s) in regular expression '%é%'"),
        ("%(a)%", "Invalid character(s) in regular expression '%(a)%'"),
        ("%a% %b% %c%", "at most 2 regular expressions are allowed"),
        ("{ $.a = %a% || $.a = %b% || $.a = %c% }", "at most 2 regular expressions are allowed"),
        ("{ $.a = 1", "If a filter pattern starts with '{' it must end with '}'"),
        ("[a, b", "If a filter pattern starts with '[' it must end with ']'"),
        ("{}", "unexpected '}' at character 2"),
        ("{ $.a = }", "unexpected '}' at character 9"),
        ("{ $.a = é }", "unexpected 'é }' at character 9"),
        ("{ $.a > foo }", "'>' is not followed by a number at character 7"),
        ("{ ($.a = 1 }", "unexpected '}' at character 12"),
        ("[a b]", "unexpected 'b]' at character 4"),
        ("[..., a, ...]", "'...' may stand once only"),
        (
            "[status = 4* && bytes > 1000]",
            "a condition of the field 'status' names the field 'bytes': put a comma between",
        ),
    ],
)
def test_what_is_no_pattern_is_refused_with_where_and_what(text: str, reason: str) -> None:
    with pytest.raises(AwsError) as caught:
        parse_filter_pattern(text)
    assert caught.value.code == "InvalidParameterException"
    assert str(caught.value) == f"Invalid filter pattern: {reason}"


def test_deep_nesting_is_read() -> None:
    text = "{" + "(" * 400 + "$.a=1" + ")" * 400 + "}"
    assert parse_filter_pattern(text) == parse_filter_pattern("{$.a=1}")


def test_a_selector_is_read_and_shown() -> None:
    assert shown_selector(parse_selector("$.a[0].b")) == "$.a[0].b"

from __future__ import annotations

import pytest

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.filter_pattern import FilterPattern, parse_filter_pattern


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", FilterPattern()),
        ('" "', FilterPattern()),
        ("ERROR", FilterPattern(every=("ERROR",))),
        ("a  b", FilterPattern(every=("a", "b"))),
        ('"a b" c', FilterPattern(every=("a b", "c"))),
        (r'"say \"hi\""', FilterPattern(every=('say "hi"',))),
        ("?a ?b", FilterPattern(some=("a", "b"))),
        ("a -b", FilterPattern(every=("a",), no=("b",))),
        ('-"x y"', FilterPattern(no=("x y",))),
        ("a ?b", FilterPattern(every=("a",))),
        ("-a ?b", FilterPattern(no=("a",))),
        (r"%\d+ms% a", FilterPattern(every=("a",), every_regex=(r"\d+ms",))),
        ("?%a.% ?b", FilterPattern(some=("b",), some_regex=("a.",))),
        ("-%^a$%", FilterPattern(no_regex=("^a$",))),
        ("%[[:digit:]]%", FilterPattern(every_regex=("[[:digit:]]",))),
        ("[x", None),
        ("{ $.a = 1 }", None),
        ('"open', None),
        ("%(a)%", None),
        ("%a%%b%%c%", None),
        ("%é%", None),
        ("%", None),
        ("?", None),
    ],
)
def test_terms_are_read_or_refused(text: str, expected: FilterPattern | None) -> None:
    if expected is not None:
        assert parse_filter_pattern(text) == expected
        return
    with pytest.raises(AwsError) as caught:
        parse_filter_pattern(text)
    assert caught.value.code == "InvalidParameterException"
    assert str(caught.value).startswith(f"Invalid filter pattern '{text}': ")

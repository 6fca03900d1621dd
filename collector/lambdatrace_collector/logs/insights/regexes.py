"""Regular expressions of `parse` and `like`: globs written as one, the names of groups.

They run in the engine as RE2, which has no look-around and no back-references; whether one can be
run at all is for the engine to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.syntax import QuerySyntaxError

if TYPE_CHECKING:
    from lambdatrace_collector.logs.insights.syntax import Regex, Span

# What may stand in a pattern: an escape, a class in brackets, the start of a group, anything else.
_PARTS = re.compile(
    r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?P?<(\w+)>|\(\?|\(|.",
    re.DOTALL,
)


def of_glob(glob: str, span: Span, names: int) -> str:
    """The expression that a glob of `parse` stands for, a group for each `*`.

    It is found anywhere in the text; a `*` in front takes all from the text's start, one at the end
    all to the text's end, any other as little as it can. Raises QuerySyntaxError unless there are
    as many `*` as `names`.
    """
    literals = [re.escape(part) for part in re.split(r"\*", glob)]
    stars = len(literals) - 1
    if stars != names or not stars:
        raise QuerySyntaxError(
            f"the pattern has {stars} wildcards (*) and {names} names after 'as': expected one name"
            " for each, and at least one",
            span,
        )
    begin = "(?s)^" if not literals[0] else "(?s)"
    groups = ["(.*?)"] * (stars - 1) + ["(.*)$" if not literals[-1] else "(.*?)"]
    return begin + "".join(
        literal + group for literal, group in zip(literals, [*groups, ""], strict=True)
    )


def group_names(regex: Regex, given: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of the expression's groups, in order: its own, or those `given` after `as`.

    A group without a name has an empty one, and is not kept. Raises QuerySyntaxError.
    """
    found = [
        match[1] or ""
        for match in _PARTS.finditer(regex.pattern)
        if match[1] is not None or match[0] == "("
    ]
    if given is not None:
        if len(given) != len(found):
            raise QuerySyntaxError(
                f"the regular expression has {len(found)} groups and {len(given)} names after 'as'",
                regex.span,
            )
        return given
    if not any(found):
        raise QuerySyntaxError(
            "the regular expression has no named group, such as (?<name>.*)", regex.span
        )
    return tuple(found)

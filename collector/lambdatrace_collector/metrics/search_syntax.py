"""The search expressions of SEARCH, from text to what the store looks for.

`{Namespace, Dimension, …} terms`: the schema is a namespace with the exact set of dimension names;
terms match parts of names and values, or all of them in double quotes, and are joined by AND
(which may be left out), OR, NOT and parentheses.

Source: CloudWatch user guide, "CloudWatch search expression syntax".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, cast

from lark import Lark, Transformer, v_args
from lark.exceptions import LarkError, UnexpectedInput

LENGTH_MAX = 1024
NESTING_MAX = 32
CLAUSES_MAX = 500  # of the conjunctive normal form, which can grow with each OR of ANDs
# The fields that a term can name; any other name is a dimension's.
PROPERTIES = ("MetricName", "Namespace", ":aws.AccountId")

_GRAMMAR = r"""
start: [schema] ","? [disjunction]
schema: "{" name ("," name)* "}"
?name: BARE -> bare
    | QUOTED -> quoted
?disjunction: conjunction ("OR" conjunction)*
?conjunction: negatable ("AND"? negatable)*
?negatable: "NOT" negatable -> negation
    | "(" disjunction ")"
    | term
term: name ["=" name]

BARE: /(?!(AND|OR|NOT)(?![^\s(){}"=,]))[^\s(){}"=,]+/
QUOTED: /"(\\.|[^"\\])*"/
%ignore /\s+/
"""

_PIECE = re.compile(r"[A-Za-z0-9]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|[0-9]+")


class SearchSyntaxError(Exception):
    """The text is no search expression; the message says where."""


@dataclass(frozen=True)
class Term:
    """What is looked for, in one field or (`field` empty) in all.

    `text` is the whole field when `is_exact`; else `parts` stand one after the other in it, each in
    its own case when it is `cased`, and `text` is all of them in lower case.
    """

    field: str
    is_exact: bool
    text: str
    parts: tuple[str, ...] = ()
    cased: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Search:
    """A search: `clauses` all hold, each by one of its terms; -n is that term n does not match.

    `namespace` and `dimension_names` are the schema's, or None.
    """

    namespace: str | None
    dimension_names: tuple[str, ...]
    terms: tuple[Term, ...]
    clauses: tuple[tuple[int, ...], ...]


def parse_search(text: str) -> Search:
    """The search that `text` describes. Raises SearchSyntaxError."""
    if len(text) > LENGTH_MAX:
        raise SearchSyntaxError(f"A search expression has at most {LENGTH_MAX} characters")
    if text.count("(") + text.count("NOT") > NESTING_MAX:
        raise SearchSyntaxError(f"A search expression has at most {NESTING_MAX} groups and NOTs")
    try:
        schema, tree = _Builder().transform(_parser().parse(text))
    except UnexpectedInput as error:
        place = cast("int | None", error.pos_in_stream)
        where = "" if place is None or place < 0 else f" at character {place + 1}"
        raise SearchSyntaxError(f"Invalid search expression{where}") from error
    except LarkError as error:
        raise SearchSyntaxError("Invalid search expression") from error
    if schema is None and tree is None:
        raise SearchSyntaxError("A search expression needs a metric schema or a search term")
    terms: list[Term] = []
    clauses = _clauses(tree, terms, is_negated=False) if tree is not None else []
    namespace, names = (schema[0], tuple(sorted(schema[1:]))) if schema else (None, ())
    return Search(namespace, names, tuple(terms), tuple(clauses))


def term_of(field: str, value: str, *, is_exact: bool) -> Term:
    """The term for a value as it is written.

    What a sign other than a letter or digit separates matches in any case; what only a capital or
    a digit separates matches in its own. A single part matches in any case.
    """
    if is_exact:
        return Term(field, is_exact=True, text=value)
    parts: list[str] = []
    cased: list[bool] = []
    for piece in _PIECE.findall(value):
        found = _PART.findall(piece)
        parts += found
        cased += [len(found) > 1] * len(found)
    if not parts:
        raise SearchSyntaxError(f"The search term '{value}' has no letter and no digit")
    text = "".join(parts).lower()
    return Term(field, is_exact=False, text=text, parts=tuple(parts), cased=tuple(cased))


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=True)


@v_args(inline=True)
class _Builder(Transformer[Any, Any]):
    def start(self, schema: Any, tree: Any) -> Any:
        return schema, tree

    def schema(self, *names: tuple[str, bool]) -> list[str]:
        return [name for name, _ in names]

    def bare(self, token: str) -> tuple[str, bool]:
        return str(token), False

    def quoted(self, token: str) -> tuple[str, bool]:
        return re.sub(r"\\(.)", r"\1", str(token[1:-1])), True

    def term(self, first: tuple[str, bool], second: tuple[str, bool] | None) -> Any:
        return ("term", "", first) if second is None else ("term", first[0], second)

    def negation(self, operand: Any) -> Any:
        return ("not", operand)

    def conjunction(self, *operands: Any) -> Any:
        return ("and", *operands)

    def disjunction(self, *operands: Any) -> Any:
        return ("or", *operands)


def _clauses(tree: Any, terms: list[Term], *, is_negated: bool) -> list[tuple[int, ...]]:
    """The conjunctive normal form; terms are added to `terms` and named by their place there."""
    kind, *operands = tree
    if kind == "term":
        field, (value, is_exact) = operands
        terms.append(term_of(field, value, is_exact=is_exact))
        return [(-len(terms) if is_negated else len(terms),)]
    if kind == "not":
        return _clauses(operands[0], terms, is_negated=not is_negated)
    forms = [_clauses(operand, terms, is_negated=is_negated) for operand in operands]
    if (kind == "and") != is_negated:
        joined = [clause for form in forms for clause in form]
    else:
        count = 1
        for form in forms:
            count *= len(form)
            if count > CLAUSES_MAX:
                raise SearchSyntaxError("The search expression has too many alternatives")
        joined = [sum(choice, ()) for choice in product(*forms)]
    if len(joined) > CLAUSES_MAX:
        raise SearchSyntaxError("The search expression has too many alternatives")
    return joined

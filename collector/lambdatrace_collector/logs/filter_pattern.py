"""Filter patterns of CloudWatch Logs as a tree: which messages match.

One language for FilterLogEvents, metric and subscription filters and live tail, in three forms:

- terms `ERROR -"timed out" ?a ?b %regex%`: case-sensitive parts of the raw message;
- JSON `{ $.level = "ERROR" && ($.ms > 1e3 || $.user[0] NOT EXISTS) }`;
- space-delimited `[ip, ..., status = 4*, size > 1000]`: the message's fields, by their place.

`filter_pattern_sql` says what a tree means. Sources: CloudWatch Logs user guide, "Filter pattern
syntax for metric filters, subscription filters, filter log events, and Live Tail".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import VisitError

from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator

REGEXES_MAX = 2  # in one pattern; source: the same page, "Supported regular expressions syntax"
PATTERNS_KEPT = 1_000

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|%([^%]*)%|((?![?-])[^\s"%]+))')
_REGEX_TEXT = re.compile(r"[A-Za-z0-9:_#=@/;,\-^$?\[\]{}|\\*+.]+")
_REGEX_ESCAPES = re.compile(r"\\(?![dDsSwW\\^$?\[\]{}|*+.\-/x])")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_STEP = re.compile(
    r"""\[(\d+)\]|\.([A-Za-z0-9_-]+)|\[("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\]""", re.DOTALL
)
_ORDERS = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True)
class Text:
    """Text to be found as it is; `*` in front or at the end stands for any text there.

    An asterisk inside is one: `Ev*ent` is found in `Ev*ent` alone.
    """

    value: str
    any_before: bool = False
    any_after: bool = False


@dataclass(frozen=True)
class Regex:
    """A regular expression in RE2's syntax, which AWS's is a part of."""

    source: str


@dataclass(frozen=True)
class Number:
    """A number, and how it was written."""

    value: float
    text: str


Term = Text | Regex
Value = Text | Regex | Number
Selector = tuple[str | int, ...]  # names, and places in arrays from 0 on


@dataclass(frozen=True)
class Terms:
    """Every one of `every`, one of `some` if there are any, none of `no`; empty: anything."""

    every: tuple[Term, ...] = ()
    some: tuple[Term, ...] = ()
    no: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The value that `selector` points to, or the field it stands at, beside another."""

    operator: str
    value: Value
    selector: Selector = ()


@dataclass(frozen=True)
class Existence:
    """What `selector` points to is there, or is not."""

    selector: Selector
    is_there: bool


@dataclass(frozen=True)
class Literal:
    """What `selector` points to is `null`, `true` or `false`."""

    selector: Selector
    text: str


@dataclass(frozen=True)
class AllOf:
    """Every part."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = "Comparison | Existence | Literal | AllOf | AnyOf"


@dataclass(frozen=True)
class JsonPattern:
    """A message that is JSON of which `condition` holds."""

    condition: Condition


@dataclass(frozen=True)
class Field:
    """One field of a space-delimited message; without a name it is known by its place."""

    name: str = ""
    condition: Condition | None = None


@dataclass(frozen=True)
class FieldsPattern:
    """The first fields of a message, and with `...` its last ones; without, all of them."""

    first: tuple[Field, ...]
    last: tuple[Field, ...] | None = None


FilterPattern: TypeAlias = Terms | JsonPattern | FieldsPattern


@lru_cache(maxsize=PATTERNS_KEPT)
def parse_filter_pattern(text: str) -> FilterPattern:
    """The pattern that `text` writes; the empty one matches every message.

    Whether a regular expression can be run is for the engine to say: only its characters are
    checked here. Raises AwsError InvalidParameterException that says where and what is wrong.
    """
    stripped = text.strip()
    if stripped[:1] in ("{", "["):
        pattern = _parsed_by_grammar(text, stripped)
    else:
        pattern = _terms_pattern(stripped)
    if len(regexes(pattern)) > REGEXES_MAX:
        raise invalid_pattern(f"at most {REGEXES_MAX} regular expressions are allowed")
    return pattern


def regexes(pattern: FilterPattern) -> list[str]:
    """Every regular expression of a pattern."""
    return [value.source for value in _values(pattern) if isinstance(value, Regex)]


def selectors(pattern: FilterPattern) -> list[Selector]:
    """What a JSON pattern points to, each once."""
    if not isinstance(pattern, JsonPattern):
        return []
    return list(dict.fromkeys(leaf.selector for leaf in _leaves(pattern.condition)))


def parse_selector(text: str) -> Selector:
    """The selector `$.name[0]["other name"]`. Raises AwsError InvalidParameterException."""
    try:
        parsed: Selector = _grammar().parse(text, start="selector")
    except (UnexpectedInput, VisitError) as error:
        raise AwsError(
            "InvalidParameterException", f"Invalid metric transformation: {text!r} is no selector"
        ) from error
    return parsed


def shown_selector(selector: Selector) -> str:
    """A selector as patterns write it: `$.a[0].b`."""
    parts = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in selector)
    return f"${parts}"


def invalid_pattern(reason: str) -> AwsError:
    """AWS's error for a filter pattern."""
    return AwsError("InvalidParameterException", f"Invalid filter pattern: {reason}")


def _values(pattern: FilterPattern) -> Iterator[Value]:
    if isinstance(pattern, Terms):
        yield from (*pattern.every, *pattern.some, *pattern.no)
        return
    if isinstance(pattern, JsonPattern):
        conditions = [pattern.condition]
    else:
        fields = (*pattern.first, *(pattern.last or ()))
        conditions = [field.condition for field in fields if field.condition is not None]
    for condition in conditions:
        for leaf in _leaves(condition):
            if isinstance(leaf, Comparison):
                yield leaf.value


def _leaves(condition: Condition) -> Iterator[Comparison | Existence | Literal]:
    if isinstance(condition, (AllOf, AnyOf)):
        for part in condition.parts:
            yield from _leaves(part)
    else:
        yield condition


def _terms_pattern(stripped: str) -> Terms:
    found: dict[str, list[Term]] = {"": [], "?": [], "-": []}
    position = 0
    while position < len(stripped):
        match = _TERM.match(stripped, position)
        if match is None:
            word = stripped[position:].split(maxsplit=1)[0]
            raise _invalid_at(position, f"Invalid character(s) in term '{word}'")
        sign, phrase, regex, word = match.groups()
        if phrase is not None:
            phrase = _unescaped(phrase)
            if phrase.strip():  # `" "` matches everything
                found[sign].append(Text(phrase))
            elif not phrase:
                raise _invalid_at(position, "Invalid character(s) in term '\"\"'")
        elif regex is not None:
            found[sign].append(_checked_regex(regex))
        else:
            found[sign].append(Text(word))
        position = match.end()
    # Next to plain or excluding terms the optional ones are ignored.
    some = () if found[""] or found["-"] else tuple(found["?"])
    return Terms(tuple(found[""]), some, tuple(found["-"]))


def _parsed_by_grammar(text: str, stripped: str) -> FilterPattern:
    closing = {"{": "}", "[": "]"}[stripped[0]]
    if not stripped.endswith(closing):
        raise invalid_pattern(
            f"If a filter pattern starts with '{stripped[0]}' it must end with '{closing}'"
        )
    try:
        pattern: FilterPattern = _grammar().parse(
            text, start="json" if stripped[0] == "{" else "fields"
        )
    except UnexpectedInput as error:
        position: int = getattr(error, "pos_in_stream", None) or 0
        found = text[position : position + 20].partition("\n")[0]
        raise _invalid_at(position, f"unexpected {found!r}") from error
    except VisitError as error:
        raise error.orig_exc from error
    return pattern


def _checked_regex(regex: str, position: int | None = None) -> Regex:
    if not _REGEX_TEXT.fullmatch(regex) or _REGEX_ESCAPES.search(regex):
        reason = f"Invalid character(s) in regular expression '%{regex}%'"
        raise invalid_pattern(reason) if position is None else _invalid_at(position, reason)
    return Regex(regex)


def _invalid_at(position: int, reason: str) -> AwsError:
    return invalid_pattern(f"{reason} at character {position + 1}")


def _unescaped(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)


def _wild(text: str) -> Text:
    any_before = text.startswith("*")
    inner = text[1:] if any_before else text
    any_after = inner.endswith("*") or text == "*"
    return Text(inner.removesuffix("*"), any_before, any_after)


@cache
def _grammar() -> Any:
    grammar = (files("lambdatrace_collector.logs") / "filter_pattern.lark").read_text("utf-8")
    return Lark(
        grammar,
        parser="lalr",
        start=["json", "fields", "selector"],
        transformer=_Builder(),
        maybe_placeholders=False,
    )


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Makes the tree of what `filter_pattern.lark` finds."""

    json = JsonPattern

    def any_of(self, *parts: Condition) -> Condition:
        return parts[0] if len(parts) == 1 else AnyOf(parts)

    def all_of(self, *parts: Condition) -> Condition:
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def comparison(self, selector: Selector, operator: Token, value: Value) -> Condition:
        is_bare_star = value == Text("", any_before=True, any_after=True) and operator == "="
        if is_bare_star:
            return Existence(selector, is_there=True)
        return Comparison(_checked_operator(operator, value), value, selector)

    def exists(self, selector: Selector) -> Condition:
        return Existence(selector, is_there=True)

    def not_exists(self, selector: Selector) -> Condition:
        return Existence(selector, is_there=False)

    def literal(self, selector: Selector, kind: Token) -> Condition:
        return Literal(selector, kind.lower())

    def selector(self, token: Token) -> Selector:
        steps = _STEP.findall(token)
        return tuple(
            int(place) if place else name or _unescaped(quoted[1:-1])
            for place, name, quoted in steps
        )

    def quoted(self, token: Token) -> Value:
        return _wild(_unescaped(token[1:-1]))

    def bare(self, token: Token) -> Value:
        if _NUMBER.fullmatch(token):
            return Number(float(token), str(token))
        return _wild(str(token))

    def regex(self, token: Token) -> Value:
        return _checked_regex(token[1:-1], token.start_pos)

    def fields(self, *fields: Field | None) -> FieldsPattern:
        if fields == (Field(),):
            return FieldsPattern((), ())  # `[]`: any number of fields
        places = [place for place, field in enumerate(fields) if field is None]
        if len(places) > 1:
            raise invalid_pattern("'...' may stand once only")
        if not places:
            return FieldsPattern(_named(fields))
        return FieldsPattern(_named(fields[: places[0]]), _named(fields[places[0] + 1 :]))

    def ellipsis(self) -> None:
        return None

    def unnamed(self) -> Field:
        return Field()

    def field(self, name: Token) -> Field:
        return Field(str(name))

    def conditional(self, named: tuple[str, Condition]) -> Field:
        return Field(*named)

    def field_comparison(self, name: Token, operator: Token, value: Value) -> tuple[str, Condition]:
        return str(name), Comparison(_checked_operator(operator, value), value)

    def field_all_of(self, *parts: tuple[str, Condition]) -> tuple[str, Condition]:
        return _of_one_field(parts, AllOf)

    def field_any_of(self, *parts: tuple[str, Condition]) -> tuple[str, Condition]:
        return _of_one_field(parts, AnyOf)


def _of_one_field(
    parts: tuple[tuple[str, Condition], ...], kind: type[AllOf | AnyOf]
) -> tuple[str, Condition]:
    name = parts[0][0]
    for other, _ in parts:
        if other != name:
            raise invalid_pattern(
                f"a condition of the field '{name}' names the field '{other}': put a comma between"
            )
    if len(parts) == 1:
        return parts[0]
    return name, kind(tuple(condition for _, condition in parts))


def _named(fields: tuple[Field | None, ...]) -> tuple[Field, ...]:
    return tuple(field for field in fields if field is not None)


def _checked_operator(operator: Token, value: Value) -> str:
    if operator in _ORDERS and not isinstance(value, Number):
        raise _invalid_at(operator.start_pos or 0, f"'{operator}' is not followed by a number")
    return str(operator)

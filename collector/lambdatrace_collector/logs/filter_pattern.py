"""Filter patterns of CloudWatch Logs: which messages match.

Terms are words, "phrases" and %regular expressions%, case-sensitive substrings of the raw message.
Plain terms must all occur, one of the terms with `?` must occur, none of those with `-` may. Next
to plain or `-` terms, the ones with `?` are ignored.
Source: CloudWatch Logs user guide, "Filter pattern syntax for metric filters".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lambdatrace_collector.errors import AwsError

REGEXES_MAX = 2  # in one pattern; source: the same page, "Supported regular expressions syntax"

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|%([^%]+)%|((?![?-])[^\s"%]+))')
_REGEX_TEXT = re.compile(r"[A-Za-z0-9:_#=@/;,\-^$?\[\]{}|\\*+.]+")
_REGEX_ESCAPES = re.compile(r"\\(?![dDsSwW\\^$?\[\]{}|*+.\-/x])")


@dataclass(frozen=True)
class FilterPattern:
    """What a message must hold: every term of `every`, one of `some` (if any), none of `no`.

    The same three exist for regular expressions, in RE2's syntax, which AWS's is a part of.
    """

    every: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    every_regex: tuple[str, ...] = ()
    some_regex: tuple[str, ...] = ()
    no_regex: tuple[str, ...] = ()

    @property
    def regexes(self) -> tuple[str, ...]:
        """Every regular expression."""
        return self.every_regex + self.some_regex + self.no_regex


def parse_filter_pattern(text: str) -> FilterPattern:
    """The pattern that `text` writes; the empty one matches every message.

    Whether a regular expression can be run is for the engine to say: only its characters are
    checked here. Raises AwsError InvalidParameterException for bad syntax, and for JSON (`{…}`) and
    space-delimited (`[…]`) patterns, which are refused since they would match wrongly as terms.
    """
    stripped = text.strip()
    if stripped[:1] in ("{", "["):
        kind = "JSON" if stripped[0] == "{" else "space-delimited"
        raise invalid_pattern(
            text, f"{kind} patterns are not supported by this collector, only terms are"
        )
    found: dict[tuple[str, bool], list[str]] = {}
    for sign, term, is_regex in _terms(text, stripped):
        found.setdefault((sign, is_regex), []).append(term)
    if sum(len(terms) for (_, is_regex), terms in found.items() if is_regex) > REGEXES_MAX:
        raise invalid_pattern(text, f"at most {REGEXES_MAX} regular expressions are allowed")

    def terms(sign: str, *, regex: bool = False) -> tuple[str, ...]:
        return tuple(found.get((sign, regex), ()))

    is_optional_ignored = any(sign in ("", "-") for sign, _ in found)
    return FilterPattern(
        every=terms(""),
        some=() if is_optional_ignored else terms("?"),
        no=terms("-"),
        every_regex=terms("", regex=True),
        some_regex=() if is_optional_ignored else terms("?", regex=True),
        no_regex=terms("-", regex=True),
    )


def _terms(text: str, stripped: str) -> list[tuple[str, str, bool]]:
    terms = []
    position = 0
    while position < len(stripped):
        match = _TERM.match(stripped, position)
        if match is None:
            raise invalid_pattern(text, f"unexpected {stripped[position:].strip()[:1]!r}")
        sign, phrase, regex, word = match.groups()
        if phrase is not None:
            phrase = re.sub(r"\\(.)", r"\1", phrase)
            if phrase.strip():  # `" "` matches everything
                terms.append((sign, phrase, False))
        elif regex is not None:
            terms.append((sign, _checked_regex(text, regex), True))
        else:
            terms.append((sign, word, False))
        position = match.end()
    return terms


def _checked_regex(text: str, regex: str) -> str:
    if not _REGEX_TEXT.fullmatch(regex) or _REGEX_ESCAPES.search(regex):
        raise invalid_pattern(
            text, f"%{regex}% has a character that regular expressions here may not have"
        )
    return regex


def invalid_pattern(text: str, reason: str) -> AwsError:
    """AWS's error for the filter pattern `text`."""
    return AwsError("InvalidParameterException", f"Invalid filter pattern '{text}': {reason}")

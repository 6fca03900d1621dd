"""What must not leave the function, and its removal from any value: by key, and by its looks.

Keys are judged by `secret_names.py`, and by what the user adds. Text is searched for tokens, keys
and card numbers. Nothing is changed in place; what needs no change is given back as it is. All
built-in patterns take time linear in the text.
Sources: OpenTelemetry semantic conventions, "URL" (what to redact, and by which word); RFC 7519,
RFC 6750; IAM User Guide, "Unique identifiers"; ISO/IEC 7812 (Luhn).
"""

from __future__ import annotations

import json  # with `re`, loaded by the runtime client already
import re
from binascii import a2b_base64
from enum import Enum  # loaded by `re`
from functools import lru_cache
from operator import is_

from lambdatrace.errors import SettingError
from lambdatrace.guard import let_through
from lambdatrace.log_record import LogRecord
from lambdatrace.plain import CUT, DEPTH_MAX, items_of, type_alone
from lambdatrace.records import OWN_SCOPE, Event, Link, Scope, Span
from lambdatrace.secret_names import is_secret_name
from lambdatrace.span_copies import ended_copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

REDACTED = "REDACTED"
ITEMS_MAX = 5_000  # of one value, in all its lists and mappings
TEXT_LENGTH_MAX = 64 * 1024  # longer text is cut; it bounds the time a user's pattern can take
_KNOWN_LENGTH_MAX = 128  # of texts whose answer is kept: most come again with each invocation

# What names and holds the value where headers, tags or variables are mappings in a list.
_NAME_KEYS, _VALUE_KEYS = ("name", "Name", "key", "Key"), ("value", "Value", "values", "Values")
_PAIR = 2

# The digits of a card stand together or in the groups printed on it.
_CARD = re.compile(
    r"(?<![\w.-])(?:[2-6]\d{3}(?:[ -]\d{4}){3}|3\d{3}[ -]\d{6}[ -]\d{4,5}|[2-6]\d{13,18})(?![\w-])"
)
_CARD_NUMBER_MIN, _CARD_NUMBER_MAX = 10**13, 10**19  # as integers: from 14 digits

# What a text must have one of for any of the patterns to fit: one quick look, for nearly all.
_HINT = re.compile(r"eyJ|A[KSBC][IC]A|[eE][aA][rR][eE][rR]|[aA][sS][iI][cC]|PRIVATE KEY|@")
_TEXT_LENGTH_MIN = 8
# What a key has about it that is followed by no equals sign and no colon.
_KEY_HINT = re.compile(r"%3[dD]|--\w|</|[\[(][b\\]?[\"']")


class Redaction:
    """The rules: the built-in ones, and patterns of keys and of values in addition."""

    __slots__ = ("_is_secret", "_known_text", "_last_scope", "_values")

    def __init__(
        self, keys: tuple[re.Pattern[str], ...] = (), values: tuple[re.Pattern[str], ...] = ()
    ) -> None:
        self._values = values
        self._last_scope = (OWN_SCOPE, OWN_SCOPE)  # as recorded, and as it may leave
        self._known_text = lru_cache(maxsize=1024)(self._search)

        def is_secret(key: str) -> bool:
            return is_secret_name(key) or any(pattern.search(key) for pattern in keys)

        self._is_secret: Callable[[str], bool] = lru_cache(maxsize=1024)(is_secret)

    def is_secret(self, key: Any) -> bool:
        """Whether what stands under `key` must not be seen."""
        if isinstance(key, Enum):
            return self.is_secret(key._name_) or self.is_secret(key._value_)
        if type(key) is bytes:
            key = key.decode("utf-8", "replace")
        return type(key) is str and len(key) <= _KNOWN_LENGTH_MAX and self._is_secret(key)

    def text(self, text: str, depth: int = 0) -> str:
        """`text` with REDACTED in place of each secret in it, at most TEXT_LENGTH_MAX long.

        JSON in a text is searched by its keys too; `depth` is how deep in others it was found.
        """
        if len(text) <= _KNOWN_LENGTH_MAX and not depth:
            kept = self._known_text(text)
            return text if kept == text else kept
        if len(text) > TEXT_LENGTH_MAX:
            text = text[:TEXT_LENGTH_MAX] + CUT
        return self._search(text, depth)

    def value(self, value: Any) -> Any:
        """`value` without secrets; the same object if it has none.

        Beyond DEPTH_MAX and ITEMS_MAX there is CUT. What OTLP and JSON have no type for is judged
        by its `str`, as it would be written. Raises what that raises.
        """
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is int and value < _CARD_NUMBER_MIN:
            return value
        return self._inner(value, 0, [ITEMS_MAX])

    def mapping(self, mapping: Mapping[str, Any]) -> Mapping[str, Any]:
        """`mapping` with its values redacted, by key and by looks; itself if nothing is."""
        redacted: dict[str, Any] | None = None
        is_secret, known_text = self._is_secret, self._known_text
        for key, value in mapping.items():
            kind = type(value)
            if is_secret(key if type(key) is str and len(key) <= _KNOWN_LENGTH_MAX else ""):
                kept: Any = REDACTED
            elif kind is str and len(value) <= _KNOWN_LENGTH_MAX:
                kept = known_text(value)
                if kept == value:
                    continue
            elif kind is bool or (kind is int and value < _CARD_NUMBER_MIN):
                continue
            else:
                kept = self.value(value)
            if kept is not value:
                if redacted is None:
                    redacted = dict(mapping)
                redacted[key] = kept
        return mapping if redacted is None else redacted

    def record(self, record: Any) -> Any:
        """A finished Span, or a LogRecord, as it may leave; itself if nothing in it is redacted.

        Of metrics, only the scope is: their attributes are redacted before they are counted.
        """
        if isinstance(record, Span):
            return self._span(record)
        if isinstance(record, LogRecord):
            return self._log_record(record)
        scope = getattr(record, "scope", None)
        if scope is not None:
            record.scope = self._scope(scope)  # of a metric made for this one sending
        return record

    def _span(self, span: Span) -> Span:
        name, message = self.text(span.name), self.text(span.status_message)
        attributes = self.mapping(span.attributes)
        events = [self._event(event) for event in span.events]
        links = [self._link(link) for link in span.links]
        scope = self._scope(span.scope)
        if (
            name is span.name
            and scope is span.scope
            and message is span.status_message
            and attributes is span.attributes
            and all(map(is_, events, span.events))
            and all(map(is_, links, span.links))
        ):
            return span
        copy = ended_copy(span, span.end_ns)
        copy.name, copy.status_message = name, message
        copy.attributes, copy.events, copy.links = dict(attributes), events, links
        copy.scope = scope
        return copy

    def _event(self, event: Event) -> Event:
        name, attributes = self.value(event.name), self.mapping(event.attributes)
        if name is event.name and attributes is event.attributes:
            return event
        copy = Event(name, event.time_ns, attributes)
        copy.dropped_attributes = event.dropped_attributes
        return copy

    def _scope(self, scope: Scope) -> Scope:
        """`scope` as it may leave; the same one again for the records of one library in a row."""
        recorded, kept = self._last_scope
        if recorded is not scope:
            attributes = self.mapping(scope.attributes)
            kept = scope
            if attributes is not scope.attributes:
                kept = Scope(
                    scope.name, scope.version, schema_url=scope.schema_url, attributes=attributes
                )
            self._last_scope = (scope, kept)
        return kept

    def _link(self, link: Link) -> Link:
        attributes = self.mapping(link.attributes)
        if attributes is link.attributes:
            return link
        copy = Link(link.context, attributes)
        copy.dropped_attributes = link.dropped_attributes
        return copy

    def _log_record(self, record: LogRecord) -> LogRecord:
        body, attributes = self.value(record.body), self.mapping(record.attributes)
        name, scope = self.value(record.event_name), self._scope(record.scope)
        if (
            body is record.body
            and attributes is record.attributes
            and name is record.event_name
            and scope is record.scope
        ):
            return record
        copy = LogRecord(
            body,
            record.observed_ns,
            time_ns=record.time_ns,
            severity_number=record.severity_number,
            severity_text=record.severity_text,
            attributes=attributes,
            context=record.context,
            event_name=name,
            scope=scope,
        )
        copy.dropped_attributes = record.dropped_attributes
        return copy

    def _inner(self, value: Any, depth: int, room: list[int]) -> Any:
        if isinstance(value, str):
            return self.text(value, depth)
        if isinstance(value, bytes):
            # What is no UTF-8 goes through as it is.
            text = value.decode("utf-8", "surrogateescape")
            kept = self.text(text, depth)
            return value if kept == text else kept.encode("utf-8", "surrogateescape")
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            is_long = _CARD_NUMBER_MIN <= value < _CARD_NUMBER_MAX
            return REDACTED if is_long and _is_card(str(value)) else value
        if not isinstance(value, (dict, list, tuple)):
            try:
                written = str(value)
            except BaseException as failure:  # noqa: BLE001 - a user's __str__ may do anything
                let_through(failure)
                return type_alone(value)  # not the value, whose text may be had the next time
            kept = self.text(written)
            return value if kept == written else kept
        if depth >= DEPTH_MAX:
            return CUT
        if isinstance(value, dict):
            return self._dict(value, depth + 1, room)
        return self._list(value, depth + 1, room)

    def _dict(self, value: dict[Any, Any], depth: int, room: list[int]) -> dict[Any, Any]:
        redacted: dict[Any, Any] = {}
        is_same = True
        is_named = any(self.is_secret(dict.get(value, name)) for name in _NAME_KEYS)
        for key, item in dict.items(value):
            room[0] -= 1
            if room[0] < 0:
                redacted[CUT] = CUT
                return redacted
            if self.is_secret(key) or (is_named and key in _VALUE_KEYS):
                kept = REDACTED
            else:
                kept = self._inner(item, depth, room)
            redacted[key] = kept
            is_same = is_same and kept is item
        return value if is_same else redacted

    def _list(self, value: Any, depth: int, room: list[int]) -> Any:
        redacted: list[Any] = []
        is_same = True
        for item in items_of(value):
            room[0] -= 1
            if room[0] < 0:
                return [*redacted, CUT]
            held: Any = items_of(item) if isinstance(item, (list, tuple)) else ()
            if len(held) >= _PAIR and self.is_secret(held[0]):
                # A header, as ASGI and others list them, or a field with all its values.
                kept = [held[0], *[REDACTED] * (len(held) - 1)]
            else:
                kept = self._inner(item, depth, room)
            redacted.append(kept)
            is_same = is_same and kept is item
        return value if is_same else redacted

    def _search(self, text: str, depth: int = 0) -> str:
        if text[:1] in ("{", "[") and depth < DEPTH_MAX:
            written = self._json(text, depth + 1)
            if written is not None:
                return written
        if len(text) >= _TEXT_LENGTH_MIN:
            if _HINT.search(text) is not None:
                for pattern, replacement in _patterns():
                    text = pattern.sub(replacement, text)
                text = _basic().sub(_basic_credentials, text)
            text = _CARD.sub(_card, text)
        if "=" in text or ":" in text or _KEY_HINT.search(text) is not None:
            text = self._by_keys(text)
        for pattern in self._values:
            text = pattern.sub(REDACTED, text)
        return text

    def _json(self, text: str, depth: int) -> str | None:
        """`text`, as an HTTP request's body or a message's often is; None if it is no JSON."""
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            return None
        kept = self._inner(parsed, depth, [ITEMS_MAX])
        if kept is parsed:
            return text
        return str(json.dumps(kept, ensure_ascii=False, separators=(",", ":")))

    def _by_keys(self, text: str) -> str:
        """`text` without what follows a secret key in it; no part of it is read more than twice."""
        parts: list[str] = []
        done = 0
        for match in _key().finditer(text):
            start = match.end()
            if match.start() < done or not self.is_secret(match[match.lastindex or 0]):
                continue
            end, before, after = _value_after(text, match)
            if end > start and not text.startswith(REDACTED, start + len(before)):
                parts += (text[done:start], before, REDACTED, after)
                done = end
        return "".join((*parts, text[done:])) if parts else text


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What is searched for in a text that has one of the hints, and what stands in its place."""
    return (
        # A JSON web token: two or three base64url parts, of which the first is a JSON object.
        (re.compile(r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?"), REDACTED),
        # Access key ids: long-term, temporary, bearer, context-specific.
        (
            re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
            REDACTED,
        ),
        (re.compile(r"(?i)(?<![\w-])(bearer[ \t]{1,4})[\w.~+/=-]{16,}"), rf"\1{REDACTED}"),
        (
            re.compile(
                r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY-----[^-]*(?:-----END [A-Z0-9 ]{0,43}-----)?"
            ),
            REDACTED,
        ),
        # A URL's user and password; neither part can match what follows it, so none goes back.
        (re.compile(r"(://)[^\s/?#@:]{0,256}:[^\s/?#@]{0,256}@"), rf"\1{REDACTED}:{REDACTED}@"),
    )


@lru_cache(maxsize=1)
def _key() -> re.Pattern[str]:
    """What may be a key before its value, which is not matched: what is in it may be keys too.

    `key=` in a URL, quoted there or not, a form or a `repr`; `"key":` or `'key':`, with its quotes
    escaped or not; `Key:` of a header or a line of text, but not between the colons of an ARN or of
    a type; `('key',` or `["key",`; `--key` of a command; `<key>` of XML.
    """
    return re.compile(
        # It may come after a sign that a URL has quoted.
        r"(?:(?<![\w.-])(?!(?<=%)[\dA-Fa-f]{2})|(?<=%[\dA-Fa-f]{2}))([\w.-]{1,64})(?:=|%3[dD])"
        r"|(?<=[\"'])([^\"'\\]{1,128})\\{0,7}[\"']\s{0,8}:\s{0,8}"
        r"|(?<![\w.:/-])((?:[\w-]{1,32} )?[\w.-]{1,64}):(?!:)[ \t]{0,8}"
        r"|(?:(?<=[\[(][\"'])|(?<=[\[(][b\\][\"']))([^\"'\\]{1,128})\\{0,7}[\"']\s{0,8},\s{0,8}"
        r"|(?<![\w-])--([\w.-]{1,64})[ \t]{1,4}(?!-)"
        r"|<([\w:.-]{1,64})(?:\s[^<>]{0,256})?>"
    )


@lru_cache(maxsize=1)
def _quoted() -> re.Pattern[str]:
    """A text in quotes, which may be escaped, to its end or, where it is cut, to that of all."""
    return re.compile(
        r"([bBuUrR]{0,2})(?:(?P<plain>[\"'])(?:(?!(?P=plain))[^\\]|\\.)*(?P<end>(?P=plain)?)"
        r"|(?P<escaped>\\{1,7}[\"'])(?:.*?(?<!\\)(?P=escaped)|.*))",
        re.DOTALL,
    )


@lru_cache(maxsize=1)
def _bare() -> tuple[re.Pattern[str], ...]:
    """A value without quotes, by the form of its key; the line after `Authorization:` or `Cookie:`.

    What is redacted already is no value: it would be read to its end for each key in it.
    """
    scheme = r"(?i:(?:basic|bearer|digest|negotiate|token)[ \t]{1,4})?"
    inner = r"()(?!REDACTED)[^\s\"',{}\[\]()\\]+"
    return (
        re.compile(r"()(?!REDACTED)[^&#\s;,]+"),
        re.compile(inner),
        # Several words, up to what ends a part of a sentence.
        re.compile(
            rf"(?!{scheme}REDACTED)({scheme})"
            r"(?:[^\r\n,;}\])]|[,;}\])](?![\s,;}\])]|\Z))+"
        ),
        re.compile(inner),
        re.compile(r"()(?!REDACTED)\S+"),
        re.compile(r"()(?!REDACTED)[^<]+"),
        re.compile(rf"(?!{scheme}REDACTED)({scheme})[^\r\n]+"),
    )


_COLON, _LISTED, _LINE = 2, 3, 6  # forms of keys; the last is that of headers with parts
_LINES = ("authorization", "cookie", "cookies")
_BRACKETS = re.compile(r"[\[\](){}]")


def _value_after(text: str, key: re.Match[str]) -> tuple[int, str, str]:
    """Where the value after `key` ends, and what of its beginning and its end stays."""
    start = key.end()
    quoted = _quoted().match(text, start)
    if quoted is not None:
        quote = quoted["plain"] or quoted["escaped"]
        return quoted.end(), quoted[1] + quote, quote
    form = (key.lastindex or 1) - 1
    if form in (0, 1, _LISTED) and text[start : start + 1] in ("[", "{", "("):
        return _closed(text, start), "", ""
    if form == _COLON and key[0].rstrip(": \t").lower().endswith(_LINES):
        form = _LINE
    bare = _bare()[form].match(text, start)
    if bare is None:
        return start, "", ""
    end = bare.end()
    around = text[key.start() - 1 : key.start()]
    if form in (_COLON, _LINE) and around in ("'", '"'):  # of the header as a whole, in a command
        closing = text.find(around, start, end)
        end = closing if closing > bare.end(1) else end
    return end, bare[1], ""


def _closed(text: str, start: int) -> int:
    """Where the bracket at `start` is closed; the end of a text that is cut before."""
    depth = 0
    for match in _BRACKETS.finditer(text, start):
        depth += 1 if match[0] in "[({" else -1
        if depth == 0:
            return match.end()
    return len(text)


@lru_cache(maxsize=1)
def _basic() -> re.Pattern[str]:
    return re.compile(r"(?i)(?<![\w-])(basic[ \t]{1,4})([\w+/-]{4,4096}={0,2})")


def _basic_credentials(match: re.Match[str]) -> str:
    """HTTP's Basic scheme (RFC 7617): base64 of user, colon and password; else just words."""
    try:
        credentials = a2b_base64(match[2] + "=" * (-len(match[2]) % 4))
    except ValueError:
        return match[0]
    return match[1] + REDACTED if b":" in credentials else match[0]


def _card(match: re.Match[str]) -> str:
    return REDACTED if _is_card(match[0].replace(" ", "").replace("-", "")) else match[0]


@lru_cache(maxsize=1)
def _issuer() -> re.Pattern[str]:
    """The first digits and the lengths of Visa, Mastercard, American Express and others."""
    return re.compile(
        r"4\d{15}(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
        r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"
        r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}"
    )


def _is_card(digits: str) -> bool:
    """Whether these are an issuer's digits that pass the Luhn check."""
    if _issuer().fullmatch(digits) is None:
        return False
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(map(int, digits[::-2]))) % 10 == 0


def parse_keys(name: str, value: str) -> tuple[re.Pattern[str], ...]:
    """Patterns of keys: what they end with in any case, and /regular expressions/, between commas.

    Raises SettingError.
    """
    return _parse(name, value, lambda item: rf"(?i)(?<![A-Za-z0-9]){re.escape(item)}$")


def parse_values(name: str, value: str) -> tuple[re.Pattern[str], ...]:
    """Patterns of values: texts as they are, and /regular expressions/, between commas.

    Raises SettingError.
    """
    return _parse(name, value, re.escape)


def _parse(name: str, value: str, as_pattern: Callable[[str], str]) -> tuple[re.Pattern[str], ...]:
    patterns = []
    for item in _items(value):
        is_expression = len(item) > 1 and item[0] == item[-1] == "/"
        try:
            patterns.append(re.compile(item[1:-1] if is_expression else as_pattern(item)))
        except (re.error, OverflowError, RecursionError):
            # The value may be a secret itself: of it only the expression is told.
            expected = "texts and /regular expressions/ between commas"
            raise SettingError(name, item, expected) from None
    return tuple(patterns)


def _items(value: str) -> list[str]:
    """Split at the commas that are in no /regular expression/, which may hold some itself."""
    found = re.findall(r"\s*/(?:[^/\\]|\\.)*/(?=\s*(?:,|$))|[^,]+", value)
    return [item.strip() for item in found if item.strip()]

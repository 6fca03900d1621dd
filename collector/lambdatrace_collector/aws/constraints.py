"""The constraints of AWS's service models, checked as AWS checks them.

Checkers are built once per shape, since a PutLogEvents request has 10,000 members to look at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Checker = Callable[[Any, str, list[str]], None]

FAILURES_MAX = 10  # AWS stops listing, too
SHOWN_CHARACTERS_MAX = 200


class Constraints:
    """Checkers of one service's shapes, made when first needed."""

    def __init__(self) -> None:
        self._checkers: dict[str, Checker] = {}

    def failures(self, shape: Any, parameters: Any) -> list[str]:
        """One sentence, in AWS's words, for each constraint of `shape` that `parameters` break."""
        found: list[str] = []
        self._checker(shape)(parameters, "", found)
        return found[:FAILURES_MAX]

    def _checker(self, shape: Any) -> Checker:
        checker = self._checkers.get(shape.name)
        if checker is None:
            # Registered before it is built, so that a shape may hold itself.
            self._checkers[shape.name] = self._later(shape.name)
            checker = self._build(shape)
            self._checkers[shape.name] = checker
        return checker

    def _later(self, shape_name: str) -> Checker:
        def check(value: Any, path: str, found: list[str]) -> None:
            self._checkers[shape_name](value, path, found)

        return check

    def _build(self, shape: Any) -> Checker:
        if shape.type_name == "structure":
            return self._structure(shape)
        if shape.type_name == "list":
            return self._list(shape)
        if shape.type_name == "map":
            return self._map(shape)
        return _scalar(shape)

    def _structure(self, shape: Any) -> Checker:
        required = [(name, _lower_first(name)) for name in shape.required_members]
        members = [
            (name, _lower_first(name), self._checker(member))
            for name, member in shape.members.items()
        ]

        def check(value: Any, path: str, found: list[str]) -> None:
            prefix = f"{path}." if path else ""
            for name, label in required:
                if name not in value:
                    found.append(_failure(None, prefix + label, "Member must not be null"))
            for name, label, checker in members:
                if name in value:
                    checker(value[name], prefix + label, found)

        return check

    def _list(self, shape: Any) -> Checker:
        check_length = _length_checker(shape)
        check_member = self._checker(shape.member)

        def check(value: Any, path: str, found: list[str]) -> None:
            check_length(value, path, found)
            for place, item in enumerate(value, start=1):
                if len(found) >= FAILURES_MAX:
                    return
                check_member(item, f"{path}.{place}.member", found)

        return check

    def _map(self, shape: Any) -> Checker:
        check_length = _length_checker(shape)
        check_key = self._checker(shape.key)
        check_value = self._checker(shape.value)

        def check(value: Any, path: str, found: list[str]) -> None:
            check_length(value, path, found)
            for key, item in value.items():
                check_key(key, f"{path}.key", found)
                check_value(item, f"{path}.{key}.value", found)

        return check


def _scalar(shape: Any) -> Checker:
    if shape.type_name == "string":
        return _string(shape)
    if shape.type_name in ("integer", "long", "float", "double"):
        return _number_checker(shape)
    if shape.type_name == "blob":
        return _length_checker(shape)
    return lambda _value, _path, _found: None


def _string(shape: Any) -> Checker:
    check_length = _length_checker(shape)
    pattern = shape.metadata.get("pattern")
    compiled = _compile(pattern)
    values = shape.metadata.get("enum")

    def check(value: str, path: str, found: list[str]) -> None:
        before = len(found)
        check_length(value, path, found)
        # A pattern's time may grow faster than the text: one that is too long is not tried.
        if len(found) == before and compiled is not None and not compiled.fullmatch(value):
            rule = f"Member must satisfy regular expression pattern: {pattern}"
            found.append(_failure(value, path, rule))
        if values and value not in values:
            rule = f"Member must satisfy enum value set: [{', '.join(values)}]"
            found.append(_failure(value, path, rule))

    return check


def _length_checker(shape: Any) -> Checker:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")

    def check(value: Any, path: str, found: list[str]) -> None:
        if least is not None and len(value) < least:
            rule = f"Member must have length greater than or equal to {least}"
            found.append(_failure(value, path, rule))
        if most is not None and len(value) > most:
            rule = f"Member must have length less than or equal to {most}"
            found.append(_failure(value, path, rule))

    return check


def _number_checker(shape: Any) -> Checker:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")

    def check(value: float, path: str, found: list[str]) -> None:
        if least is not None and value < least:
            rule = f"Member must have value greater than or equal to {least}"
            found.append(_failure(value, path, rule))
        if most is not None and value > most:
            rule = f"Member must have value less than or equal to {most}"
            found.append(_failure(value, path, rule))

    return check


def _failure(value: Any, path: str, rule: str) -> str:
    shown = "null" if value is None else f"'{_shown(value)}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    """The pattern, or None where there is none or it is written in Java's dialect alone."""
    if not pattern:
        return None
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]

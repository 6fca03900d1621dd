"""Values checked by the constraints of botocore's service model, refused in Lambda's words.

"1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: Member must
have value less than or equal to 900". Every constraint that is broken is named, in the order of the
model. Source: answers of Lambda, as recorded in the tests of several emulators of it.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import InvokeError

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUE_SHOWN_MAX = 1024  # characters of a wrong value that are sent back


class Fault:
    """One broken constraint: where, by which value (text; None: a secret), and what is asked."""

    def __init__(self, path: str, value: str | None, must: str, subject: str = "Member") -> None:
        self.path = path
        self.value = value
        self.constraint = f"{subject} must {must}"

    def __str__(self) -> str:
        if self.value is None:
            return f"Value at '{self.path}' failed to satisfy constraint: {self.constraint}"
        shown = self.value if self.value == "null" else f"'{self.value[:VALUE_SHOWN_MAX]}'"
        return f"Value {shown} at '{self.path}' failed to satisfy constraint: {self.constraint}"


def check(shape: Any, value: dict[str, Any]) -> None:
    """Raises the InvokeError (ValidationException) for a structure that breaks a constraint."""
    refuse(list(_faults(shape, value, "")))


def refuse(faults: list[Fault]) -> None:
    """Raises the InvokeError (ValidationException) for faults, if there are any."""
    if faults:
        plural = "s" if len(faults) > 1 else ""
        told = "; ".join(map(str, faults))
        raise InvokeError(
            400, "ValidationException", f"{len(faults)} validation error{plural} detected: {told}"
        )


def _faults(shape: Any, value: Any, path: str) -> Iterator[Fault]:
    if shape.type_name == "structure":
        for name in shape.required_members:
            if value.get(name) is None:
                yield Fault(_join(path, name), "null", "not be null")
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _faults(member, value[name], _join(path, name))
    elif shape.type_name == "list":
        yield from _length_faults(shape, value, path, f"[{', '.join(map(str, value))}]")
        for index, item in enumerate(value, 1):
            yield from _faults(shape.member, item, f"{path}.{index}.member")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _key_faults(shape, value, key, path)
            yield from _faults(shape.value, item, f"{path}.{key}.member")
    else:
        yield from _scalar_faults(shape, value, path)


def _key_faults(shape: Any, value: dict[str, Any], key: str, path: str) -> Iterator[Fault]:
    """What is wrong with a key is told of its map, which is not shown where it is a secret."""
    wrong = [fault.constraint for fault in _faults(shape.key, key, path)]
    if wrong:
        entries = ", ".join(f"{name}={item}" for name, item in value.items())
        shown = None if shape.metadata.get("sensitive") else f"{{{entries}}}"
        yield Fault(path, shown, f"satisfy constraint: [{', '.join(wrong)}]", "Map keys")


def _scalar_faults(shape: Any, value: Any, path: str) -> Iterator[Fault]:
    limits = shape.metadata
    if shape.type_name == "string":
        shown = value
        if "enum" in limits and value not in limits["enum"] and shape.name != "Runtime":
            yield Fault(path, shown, f"satisfy enum value set: [{', '.join(limits['enum'])}]")
        yield from _length_faults(shape, value, path, shown)
        pattern = limits.get("pattern")
        if pattern and not _pattern(pattern).fullmatch(value):
            yield Fault(path, shown, f"satisfy regular expression pattern: {pattern}")
    elif shape.type_name in ("integer", "long", "double", "float"):
        if "max" in limits and value > limits["max"]:
            yield Fault(path, str(value), f"have value less than or equal to {limits['max']}")
        if "min" in limits and value < limits["min"]:
            yield Fault(path, str(value), f"have value greater than or equal to {limits['min']}")


def _length_faults(shape: Any, value: Any, path: str, shown: str) -> Iterator[Fault]:
    limits = shape.metadata
    if "max" in limits and len(value) > limits["max"]:
        yield Fault(path, shown, f"have length less than or equal to {limits['max']}")
    if "min" in limits and len(value) < limits["min"]:
        yield Fault(path, shown, f"have length greater than or equal to {limits['min']}")


def _join(path: str, name: str) -> str:
    member = name[0].lower() + name[1:]
    return f"{path}.{member}" if path else member


@functools.lru_cache(maxsize=512)
def _pattern(pattern: str) -> re.Pattern[str]:
    """Java's classes of letters, separators and numbers in Python's words."""
    return re.compile(pattern.replace(r"\p{L}\p{Z}\p{N}_", r"\w\s"))

"""From an operation's result to what JSON or CBOR can write, by the shapes of botocore's models."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Encoder = Callable[[Any], Any]


class ShapeEncoder:
    """Encodes values by shape. `scalars` are the encoders of the shape types that need one."""

    def __init__(self, scalars: Mapping[str, Encoder]) -> None:
        self._scalars = scalars

    def encode(self, shape: Any, value: Any) -> Any:
        """The value in dicts, lists and scalars. Members that are None are left out."""
        kind = shape.type_name
        if kind == "structure":
            return self._structure(shape, value)
        if kind == "list":
            return self._list(shape.member, value)
        if kind == "map":
            return {key: self.encode(shape.value, item) for key, item in value.items()}
        encode = self._scalars.get(kind)
        return value if encode is None else encode(value)

    def _structure(self, shape: Any, value: Mapping[str, Any]) -> dict[str, Any]:
        members = shape.members
        return {
            members[name].serialization.get("name", name): self.encode(members[name], item)
            for name, item in value.items()
            if item is not None
        }

    def _list(self, member: Any, items: Any) -> list[Any]:
        if member.type_name in ("structure", "list", "map"):
            return [self.encode(member, item) for item in items]
        # 100 series of 1,440 values each are as many scalars: they need no look at their shape.
        encode = self._scalars.get(member.type_name)
        return list(items) if encode is None else [encode(item) for item in items]


def json_double(value: float) -> float | str:
    """A number as JSON has it, or the name of what JSON has no digits for."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def json_blob(value: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(value).decode()

"""Which operation of Lambda a request asks for, by the paths of botocore's service model."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

_LABEL = re.compile(r"\{(\w+)(\+?)\}")


@dataclass(frozen=True)
class Operation:
    """One operation of the service model. `model` is botocore's OperationModel."""

    name: str
    method: str
    path: re.Pattern[str]
    query: Mapping[str, list[str]]
    model: Any


@dataclass(frozen=True)
class Match:
    """A request's operation, what its path says, and its query string."""

    operation: Operation
    labels: dict[str, str]
    query: dict[str, list[str]]


@functools.lru_cache(maxsize=1)
def operations() -> dict[str, Operation]:
    """Every operation of the model by its name; reading the model takes some 40 ms."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    model = ServiceModel(Loader().load_service_model("lambda", "service-2"), "lambda")
    return {name: _operation(model.operation_model(name)) for name in model.operation_names}


@functools.lru_cache(maxsize=1)
def error_shapes() -> dict[str, Any]:
    """Every error of the model by its code."""
    return {
        shape.error_code: shape
        for operation in operations().values()
        for shape in operation.model.error_shapes
    }


def match(method: str, path: str, query: str) -> Match | None:
    """What a request asks for, or None. Of two operations, the one whose query is named wins."""
    asked = parse_qs(query, keep_blank_values=True)
    found: Match | None = None
    for operation in operations().values():
        labels = operation.path.fullmatch(path) if operation.method == method else None
        if labels is None or any(asked.get(k) != v for k, v in operation.query.items()):
            continue
        if found is None or operation.query:
            values = {name: unquote(text) for name, text in labels.groupdict().items()}
            found = Match(operation, values, asked)
    return found


def _operation(model: Any) -> Operation:
    path, _, query = model.http["requestUri"].partition("?")
    pattern, position = "", 0
    for label in _LABEL.finditer(path):
        pattern += re.escape(path[position : label.start()])
        pattern += f"(?P<{label[1]}>{'.+' if label[2] else '[^/]+'})"
        position = label.end()
    pattern += re.escape(path[position:]).removesuffix("/")
    return Operation(
        model.name,
        model.http["method"],
        re.compile(pattern + "/?"),
        parse_qs(query, keep_blank_values=True),
        model,
    )

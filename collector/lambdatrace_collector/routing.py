from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdatrace_collector.errors import MethodNotAllowedError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from lambdatrace_collector.errors import RequestError, ServiceError
    from lambdatrace_collector.exchange import Request, Response
    from lambdatrace_collector.streaming import StreamingResponse

    Handler = Callable[[Request], Awaitable[Response | StreamingResponse]]
    ErrorShape = Callable[[Request, RequestError | ServiceError], Response]


@dataclass(frozen=True)
class Route:
    """A method and path, `{name}` standing for one part of it, and who answers."""

    method: str
    path: str
    handler: Handler
    error_shape: ErrorShape

    def match(self, path: str) -> dict[str, str] | None:
        """The path's parameters when it is this route's; else None."""
        own, given = self.path.split("/"), path.split("/")
        if len(own) != len(given):
            return None
        parameters: dict[str, str] = {}
        for part, value in zip(own, given, strict=True):
            if part.startswith("{") and value:
                parameters[part[1:-1]] = value
            elif part != value:
                return None
        return parameters


class Routes:
    """All routes; those without parameters are found by their path at once."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_path: dict[str, list[Route]] = {}
        self._patterns: list[Route] = []
        for route in routes:
            if "{" in route.path:
                self._patterns.append(route)
            else:
                self._by_path.setdefault(route.path, []).append(route)

    def find(self, request: Request) -> tuple[Route, dict[str, str]]:
        """The route of a request and its path's parameters.

        Raises NotFoundError or MethodNotAllowedError.
        """
        allowed: list[str] = []
        for route in (*self._by_path.get(request.path, ()), *self._patterns):
            parameters = route.match(request.path)
            if parameters is not None and route.method == request.method:
                return route, parameters
            if parameters is not None:
                allowed.append(route.method)
        if allowed:
            raise MethodNotAllowedError(
                f"{request.method} {request.path}: expected {' or '.join(allowed)}", tuple(allowed)
            )
        raise NotFoundError(f"there is nothing at {request.path}")

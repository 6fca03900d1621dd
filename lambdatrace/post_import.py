"""The post-import hook: what watches for a package of the user's, and is loaded when it comes.

A *door* is a module of ours that stands for one of theirs (`DOORS`). It has `attach(module)`,
called once, right after `module` was executed and before its importer sees it; where another door
is being loaded at that moment, in this thread or another, as soon as that is.
A function that never imports the package pays for one dictionary look-up per import it makes.
Source: PEP 302 / PEP 451, "meta path finders"; the way `wrapt.when_imported` does it.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from lambdatrace.guard import Guard

# The user's module → ours.
DOORS: dict[str, str] = {
    "aws_durable_execution_sdk_python.execution": "lambdatrace.durable_steps",
    "opentelemetry._logs": "lambdatrace.otel.logs",
    "opentelemetry.metrics": "lambdatrace.otel.metrics",
    "opentelemetry.trace": "lambdatrace.otel.traces",
    "botocore.client": "lambdatrace.patches.botocore",
    "urllib3.connectionpool": "lambdatrace.patches.urllib3",
    "requests.sessions": "lambdatrace.patches.requests",
    "http.client": "lambdatrace.patches.http_client",
    "aws_xray_sdk.core": "lambdatrace.xray",
}

_is_armed = False

# Doors to load with the modules they are for, by the thread that is at one already.
_due: list[tuple[str, ModuleType]] = []
_loading = allocate_lock()


def arm_doors(guard: Guard) -> bool:
    """Arm DOORS, once in a process; False if that was done before."""
    global _is_armed  # noqa: PLW0603 - the meta path is one per process too
    if _is_armed:
        return False
    _is_armed = True
    arm(DOORS, guard)
    return True


def arm(doors: Mapping[str, str], guard: Guard) -> None:
    """Attach each door when its module is imported, or now if it has been."""
    waiting = {}
    for watched, door in doors.items():
        module = sys.modules.get(watched)
        if module is None:
            waiting[watched] = door
        else:
            attach(door, module, guard)
    if waiting:
        sys.meta_path.insert(0, PostImportFinder(waiting, guard))


def forget_parent() -> None:
    """In a forked child: the thread that was at a door is the parent's."""
    global _loading  # noqa: PLW0603 - there is one for the process
    _loading = allocate_lock()
    _due.clear()


def attach(door: str, module: ModuleType, guard: Guard) -> None:
    """Load `door` and attach it to `module`; the thread that is at another door does it, if one is.

    Doors import each other, so one that was loaded from within another's import, or in another
    thread beside it, would find it half done. Nobody waits: who is at a door may be waiting for the
    module that this thread imports.
    """
    _due.append((door, module))
    while _due and _loading.acquire(blocking=False):
        try:
            while _due:
                guard.run(import_door, *_due.pop(0))
        finally:
            _loading.release()


def import_door(door: str, module: ModuleType) -> None:
    """Import `door` and attach it to `module`."""
    import_module(door).attach(module)


class PostImportFinder:
    """Lets the other finders find a watched module, and stands in for its loader once."""

    __slots__ = ("_guard", "_waiting")

    def __init__(self, waiting: dict[str, str], guard: Guard) -> None:
        self._waiting = waiting
        self._guard = guard

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec with our loader around its own; None for all other modules."""
        if name not in self._waiting:
            return None
        spec = find_past(self, name, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            loader: Any = ObservedLoader(spec.loader, self.attach)
            spec.loader = loader
        return spec

    def attach(self, module: ModuleType) -> None:
        """`module` has been executed: load its door, once."""
        door = self._waiting.pop(module.__name__, None)
        if door is not None:
            attach(door, module, self._guard)


def find_past(
    own: object, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """What the finders behind `own` on the meta path find."""
    finders = iter(sys.meta_path)
    for finder in finders:
        if finder is own:
            break
    for finder in finders:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(name, path, target) if find_spec is not None else None
        if spec is not None:
            return spec
    return None


class ObservedLoader:
    """A module's loader, which is given back to it before the module runs.

    `executed` is called with the module when it has run without an error.
    """

    def __init__(self, loader: Any, executed: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._executed = executed

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader makes it."""
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module as it would have been, and tell."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._executed(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

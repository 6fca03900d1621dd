"""How long each import of an init took: a tree of modules, those that are worth a look.

A finder at the head of the meta path notes when a module is first looked for, and its loader when
the module has run; what it imports meanwhile is below it. Off, none of this is loaded. On, it adds
some 4 µs to an import, of which the cheapest from bytecode takes 100.
Source: PEP 451, "finders and loaders".
"""

from __future__ import annotations

import _thread
import sys

from lambdatrace.post_import import ObservedLoader, find_past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from lambdatrace.clock import Clock
    from lambdatrace.records import Span
    from lambdatrace.tracing import Tracer

# Far more than a person reads; a dependency tree of thousands must not fill trace and memory.
KEPT_COUNT_MAX = 500
_CAUSES_MAX = 10


class ImportedModule:
    """One module's first import, in Unix nanoseconds, and what it imported itself."""

    __slots__ = ("children", "end_ns", "error", "error_type", "name", "start_ns")

    def __init__(self, name: str, start_ns: int) -> None:
        self.name = name
        self.start_ns = start_ns
        self.end_ns = 0
        self.children: list[ImportedModule] = []
        self.error_type = ""
        self.error: BaseException | None = None  # until what imported it has run

    def walk(self) -> Iterator[ImportedModule]:
        """This module and all below it, each before what it imported."""
        yield self
        for child in self.children:
            yield from child.walk()


class ImportTimes:
    """Notes imports from `start` to `stop`; `modules` are those that nothing noted imported.

    One that took less than `threshold_ns` is left out, unless it is above one that was kept, or its
    error ended what imported it: packages try one module and take another, which is no news.
    Imports of several threads are kept apart while they run.
    """

    __slots__ = ("_clock", "_kept", "_running", "_threshold_ns", "modules")

    def __init__(self, clock: Clock, threshold_ns: int) -> None:
        self._clock = clock
        self._threshold_ns = threshold_ns
        self._running: dict[int, list[ImportedModule]] = {}
        self._kept = 0
        self.modules: list[ImportedModule] = []

    def start(self) -> None:
        """Note imports from now on."""
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Note no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find, with a loader that tells when the module has run."""
        start_ns = self._clock.time_ns()
        spec = find_past(self, name, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            loader: Any = _TimedLoader(spec.loader, self, ImportedModule(name, start_ns))
            spec.loader = loader
        return spec

    def begin(self, module: ImportedModule) -> None:
        """`module` starts to run."""
        self._running.setdefault(_thread.get_ident(), []).append(module)

    def end(self, module: ImportedModule) -> None:
        """`module` has run, or failed."""
        module.end_ns = self._clock.time_ns()
        thread = _thread.get_ident()
        running = self._running[thread]
        running.pop()
        if not running:
            del self._running[thread]
        children = []
        for child in module.children:
            if self._is_worth(child, module.error):
                children.append(child)
            else:
                self._kept -= sum(1 for _ in child.walk())
        module.children = children
        is_kept = (
            module.error and running
        ) or module.end_ns - module.start_ns >= self._threshold_ns
        if (is_kept and self._kept < KEPT_COUNT_MAX) or children:
            self._kept += 1
            (running[-1].children if running else self.modules).append(module)
        if not running:
            module.error = None

    def _is_worth(self, child: ImportedModule, error: BaseException | None) -> bool:
        """Whether `child` is kept below a module that has run, or that `error` ended."""
        own, child.error = child.error, None
        if child.end_ns - child.start_ns >= self._threshold_ns:
            return True
        for _ in range(_CAUSES_MAX):
            if error is None or error is own:
                break
            error = error.__cause__ or error.__context__
        return error is not None and error is own


class _TimedLoader(ObservedLoader):
    """Tells `times` when the module runs."""

    def __init__(self, loader: Any, times: ImportTimes, module: ImportedModule) -> None:
        super().__init__(loader, lambda _: None)
        self._times = times
        self._module = module

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module as it would have been, and note how long it took."""
        self._times.begin(self._module)
        try:
            super().exec_module(module)
        except BaseException as error:
            self._module.error = error
            self._module.error_type = type(error).__qualname__
            raise
        finally:
            self._times.end(self._module)


def record_imports(
    times: ImportTimes, tracer: Tracer, importing: Span, invocation: Span, import_ended_ns: int
) -> None:
    """Make spans of the modules noted so far, and note no more.

    Those of the init are below `importing`, the span of the handler's own module; those that the
    handler imported itself are below the span of its invocation.
    """
    times.stop()
    for module in _without(times.modules, ("lambdatrace.auto", importing.name[len("import ") :])):
        is_of_init = module.start_ns < import_ended_ns
        _record(tracer, module, importing if is_of_init else invocation)


def _without(modules: list[ImportedModule], names: Sequence[str]) -> Iterator[ImportedModule]:
    """`modules`, but in the place of those called one of `names` what they imported.

    They have a span already: the handler's module, and the redirect that imports it.
    """
    for module in modules:
        if module.name in names:
            yield from _without(module.children, names)
        else:
            yield module


def _record(tracer: Tracer, module: ImportedModule, parent: Span) -> None:
    span = tracer.start_span(f"import {module.name}", parent=parent, start_ns=module.start_ns)
    for child in module.children:
        _record(tracer, child, span)
    if module.error_type:
        # Not an error of the init: many packages try one module and take another.
        span.set_attribute("error.type", module.error_type)
    tracer.end_span(span, module.end_ns)

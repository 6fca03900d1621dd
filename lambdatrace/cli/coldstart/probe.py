"""One cold start, timed from inside: run by `lambdatrace coldstart` in a fresh process.

    python probe.py OUTPUT HANDLER [LEFT_OUT]

Imports the runtime client and then the handler's module, as Lambda does, and writes what each
import took to the file OUTPUT as JSON. LEFT_OUT is a JSON object, file → line numbers: those import
statements are left out, to see what the init takes without them.
"""

from __future__ import annotations

import sys
import time

_started_ns = time.time_ns()

import json  # noqa: E402 - the time is taken first; the runtime client imports these too
import os  # noqa: E402
from importlib import import_module  # noqa: E402

from lambdatrace.clock import Clock  # noqa: E402
from lambdatrace.import_times import ImportTimes  # noqa: E402
from lambdatrace.initialization import Initialization  # noqa: E402
from lambdatrace.post_import import ObservedLoader, find_past  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from lambdatrace.import_times import ImportedModule


_COROUTINE = 0x80  # a code flag, as `inspect` names them (CO_COROUTINE)


class LeavingOut:
    """A finder through which the files of `left_out` are compiled without some of their imports.

    Every file of `left_out` goes this way, also one that has no lines to leave out: so two runs
    differ in nothing but the imports.
    """

    def __init__(self, left_out: Mapping[str, Sequence[int]]) -> None:
        self._left_out = left_out

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, with a loader that compiles it our way."""
        spec = find_past(self, name, path, target)
        lines = self._left_out.get(spec.origin or "") if spec is not None else None
        if spec is not None and lines is not None:
            loader: Any = _LeavingOutLoader(spec.loader, lines)
            spec.loader = loader
        return spec


class _LeavingOutLoader(ObservedLoader):
    def __init__(self, loader: Any, lines: Sequence[int]) -> None:
        super().__init__(loader, lambda _: None)
        self._lines = lines

    def exec_module(self, module: ModuleType) -> None:
        """Compile the file without the statements, and execute that."""
        import ast

        path = str(module.__file__)
        tree = ast.parse(self._loader.get_source(module.__name__), path)
        tree.body = [node for node in tree.body if node.lineno not in self._lines] or [ast.Pass()]
        exec(compile(ast.fix_missing_locations(tree), path, "exec"), module.__dict__)  # noqa: S102 - as the loader would


def main(output: str, handler: str, left_out: str = "") -> None:
    """Time one cold start of `handler`."""
    own = [name for name in sys.modules if name.partition(".")[0] == "lambdatrace"]
    clock = Clock()
    initialization = Initialization(clock)
    times = ImportTimes(clock, 0)
    for name in own:
        del sys.modules[name]  # a function that imports lambdatrace pays for it, so it does here
    if left_out:
        sys.meta_path.insert(0, LeavingOut(json.loads(left_out)))
    times.start()
    runtime_started_ns = clock.time_ns()
    error = ""
    try:
        import_module("awslambdaric.bootstrap")
    except ImportError:
        error = (
            "this Python has no awslambdaric, the runtime client: its time is not in the figures"
        )
    import_started_ns = clock.time_ns()
    failure, is_async = _import_handler(handler)
    import_ended_ns = clock.time_ns()
    times.stop()
    facts = {
        # What this probe itself took from there on is no part of the function's init.
        "interpreter_ns": max(0, _started_ns - initialization.process_started_ns()),
        "runtime_ns": import_started_ns - runtime_started_ns,
        "import_ns": import_ended_ns - import_started_ns,
        "note": error,
        "failure": failure,
        "is_async": is_async,
        "modules": [
            _facts(module)
            for module in times.modules
            if module.start_ns >= import_started_ns and module.end_ns <= import_ended_ns
        ],
    }
    with open(output, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not loaded here
        json.dump(facts, file)


def _import_handler(handler: str) -> tuple[str, bool]:
    """What went wrong, in one line, empty if nothing did; and whether it is an `async def`."""
    module_name, _, function_name = handler.rpartition(".")
    try:
        module = import_module(module_name.replace("/", "."))
        code = getattr(getattr(module, function_name), "__code__", None)
    except BaseException as error:  # noqa: BLE001 - the user's module may raise anything
        return f"{_place(error)}{type(error).__qualname__}: {error}", False
    return "", bool(getattr(code, "co_flags", 0) & _COROUTINE)


def _place(error: BaseException) -> str:
    """File and line of the function's own code that `error` came from, with a colon each."""
    folder = os.environ["LAMBDA_TASK_ROOT"] + os.sep
    file, line = "", 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(folder):
            file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno or 0
    return f"{file.removeprefix(folder)}:{line}: " if file else ""


def _facts(module: ImportedModule) -> dict[str, Any]:
    loaded = sys.modules.get(module.name)
    return {
        "name": module.name,
        "file": str(getattr(loaded, "__file__", None) or ""),
        "ns": module.end_ns - module.start_ns,
        "children": [_facts(child) for child in module.children],
    }


if __name__ == "__main__":
    # As in Lambda: the function's folder comes first, this one's not at all.
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    main(*sys.argv[1:])

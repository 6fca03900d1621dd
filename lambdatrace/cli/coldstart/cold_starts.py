"""Cold starts of one handler in fresh processes: what each import took, and what could wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

from lambdatrace.cli.coldstart.deferral import Deferrable, deferrable_imports, names_reached

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

PROBE = Path(__file__).with_name("probe.py")
START_S_MAX = 120.0  # far above Lambda's own limit of 10 s for an init
RETRIES_MAX = 10  # each takes one import back that turned out to be needed
SAVING_NS_MIN = 1_000_000  # less is lost in what differs from one cold start to the next
# What an instrumented function loads in any case, and so gains nothing by importing it later.
ALWAYS_LOADED = frozenset(("awslambdaric", "lambdatrace"))
_MISSING_NAME = re.compile(r"NameError: name '(\w+)' is not defined")


class ColdStartError(Exception):
    """The handler's module cannot be imported, or its process did not come to an end."""


@dataclass(frozen=True)
class Module:
    """One module's first import; `ns` with all that it imported, `own_ns` without."""

    name: str
    file: str
    ns: int
    children: tuple[Module, ...]

    @property
    def own_ns(self) -> int:
        """Spent in the module itself."""
        return max(0, self.ns - sum(child.ns for child in self.children))

    def walk(self) -> Iterator[Module]:
        """This module and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class ColdStart:
    """What one init was spent on, in nanoseconds; `modules` are those of the handler's import."""

    interpreter_ns: int
    runtime_ns: int
    import_ns: int
    modules: tuple[Module, ...]
    note: str = ""
    is_async: bool = False

    @property
    def total_ns(self) -> int:
        """From the start of the process until the handler is there."""
        return self.interpreter_ns + self.runtime_ns + self.import_ns

    def walk(self) -> Iterator[Module]:
        """Every module of the handler's import."""
        for module in self.modules:
            yield from module.walk()


@dataclass(frozen=True)
class Proposal:
    """An import that could wait, in the file `path` of the module `importer`.

    `ns` is what it takes of the init: what it loads and nothing else does. With `is_in_handler` the
    handler itself comes to it, so that the first invocation takes it instead.
    """

    path: str
    importer: str
    deferrable: Deferrable
    ns: int
    is_in_handler: bool = False


@dataclass(frozen=True)
class Deferral:
    """What could wait, most costly first, and what the handler's import takes now."""

    proposals: list[Proposal] = field(default_factory=list)
    import_ns: int = 0


class ColdStarts:
    """Starts `handler`, in `code_dir`, under the interpreter `python` as often as asked."""

    def __init__(
        self, handler: str, code_dir: Path, *, python: str, environment: Mapping[str, str]
    ) -> None:
        self._handler = handler
        self._code_dir = code_dir.resolve()
        self._python = python
        self._environment = {
            **{key: value for key, value in os.environ.items() if key != "AWS_LAMBDA_RUNTIME_API"},
            "AWS_LAMBDA_FUNCTION_NAME": handler.partition(".")[0].replace("/", "-"),
            "LAMBDA_TASK_ROOT": str(self._code_dir),
            "_HANDLER": handler,
            **environment,
        }
        # The probe's interpreter need not have lambdatrace installed.
        own = str(Path(__file__).resolve().parents[3])
        given = self._environment.get("PYTHONPATH")
        self._environment["PYTHONPATH"] = os.pathsep.join([given, own] if given else [own])

    def median(self, runs: int) -> ColdStart:
        """Of `runs` cold starts the median of each phase, and of each module's own time.

        What a module takes with all it imports is the sum, so that the figures agree. Raises
        ColdStartError.
        """
        self._start()  # fills the page cache, and writes bytecode where it is missing
        return merged([self._start() for _ in range(runs)])

    def deferral(self, start: ColdStart, min_ns: int) -> Deferral:
        """Which imports of the function's own modules could wait, and what that would save.

        Each saves at least `min_ns`. They are tried together: one whose name turns out to be needed
        at import time, or that another module takes from here, is no proposal; and of what it
        imports only that counts which is not loaded without it.
        """
        proposals = self._proposals(start, min_ns)
        own: dict[str, list[int]] = {module.file: [] for module in self._own_modules(start)}
        for _ in range(RETRIES_MAX):
            if not proposals:
                break
            left_out = {**own}
            for proposal in proposals:
                left_out[proposal.path] = [*left_out[proposal.path], proposal.deferrable.line]
            try:
                loaded = {module.name for module in self._start(left_out).walk()}
            except ColdStartError as error:
                proposals = _without_needed(proposals, str(error))
                continue
            found = [
                replace(proposal, ns=_saved_ns(start, proposal, loaded))
                for proposal in proposals
                if proposal.importer in loaded  # else it waits with what imports it
            ]
            kept = [proposal for proposal in found if proposal.ns >= min_ns]
            if len(kept) == len(proposals):
                return Deferral(sorted(kept, key=lambda each: -each.ns), start.import_ns)
            proposals = kept
        return Deferral(import_ns=start.import_ns)

    def _start(self, left_out: Mapping[str, list[int]] | None = None) -> ColdStart:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "times.json")
            command = [self._python, str(PROBE), str(output), self._handler]
            try:
                process = subprocess.run(
                    [*command, json.dumps(left_out)] if left_out else command,
                    env=self._environment,
                    cwd=self._code_dir,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=START_S_MAX,
                    check=False,
                )
            except OSError as error:
                raise ColdStartError(f"python '{self._python}' cannot be run: {error}") from error
            except subprocess.TimeoutExpired:
                raise ColdStartError(
                    f"the import of {self._handler} was not over after {START_S_MAX:.0f} s"
                ) from None
            if not output.is_file():
                said = process.stdout.decode("utf-8", "replace").strip().splitlines()
                raise ColdStartError(said[-1] if said else f"exit status {process.returncode}")
            facts = json.loads(output.read_text("utf-8"))
        if facts["failure"]:
            raise ColdStartError(facts["failure"])
        return ColdStart(
            facts["interpreter_ns"],
            facts["runtime_ns"],
            facts["import_ns"],
            tuple(_module(module) for module in facts["modules"]),
            facts["note"],
            facts["is_async"],
        )

    def _own_modules(self, start: ColdStart) -> list[Module]:
        """The modules whose source is the function's, not that of a package beside it."""
        packages = {
            entry.split("/")[0].removesuffix(".py")
            for record in self._code_dir.glob("*.dist-info/RECORD")
            for entry in record.read_text("utf-8", "replace").splitlines()
        }
        return [
            module
            for module in start.walk()
            if module.file.endswith(".py")
            and Path(module.file).is_relative_to(self._code_dir)
            and "site-packages" not in module.file
            and module.name.partition(".")[0] not in packages
        ]

    def _proposals(self, start: ColdStart, min_ns: int) -> list[Proposal]:
        own = self._own_modules(start)
        sources = {module.name: Path(module.file).read_text("utf-8") for module in own}
        reached = names_reached(sources.values(), self._handler.rpartition(".")[2])
        always = ALWAYS_LOADED | ({"asyncio"} if start.is_async else set())
        proposals = []
        for module in own:
            is_package = Path(module.file).name == "__init__.py"
            for each in deferrable_imports(
                sources[module.name], module.name, is_package=is_package
            ):
                is_in_handler = any(reached & set(name.split(".")) for name in each.functions)
                if always.issuperset(name.partition(".")[0] for name in each.modules):
                    continue
                if is_in_handler and sources.keys() & set(each.modules):
                    continue  # the function's own code, which it is there for
                proposal = Proposal(module.file, module.name, each, 0, is_in_handler)
                ns = _saved_ns(start, proposal, frozenset())
                if ns >= min_ns:
                    proposals.append(replace(proposal, ns=ns))
        return proposals


def merged(starts: Sequence[ColdStart]) -> ColdStart:
    """One cold start out of several, with the median of each figure that is no sum of others."""
    middle = sorted(starts, key=lambda start: start.total_ns)[len(starts) // 2]
    own_ns: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for start in starts:
        _gather(start.modules, (), own_ns)
    modules = tuple(_with_medians(module, (), own_ns) for module in middle.modules)
    outside_ns = median_low(
        start.import_ns - sum(module.ns for module in start.modules) for start in starts
    )
    return replace(
        middle,
        interpreter_ns=median_low(start.interpreter_ns for start in starts),
        runtime_ns=median_low(start.runtime_ns for start in starts),
        import_ns=outside_ns + sum(module.ns for module in modules),
        modules=modules,
    )


def _gather(
    modules: Sequence[Module], path: tuple[str, ...], own_ns: dict[tuple[str, ...], list[int]]
) -> None:
    for module in modules:
        below = (*path, module.name)
        own_ns[below].append(module.own_ns)
        _gather(module.children, below, own_ns)


def _with_medians(
    module: Module, path: tuple[str, ...], own_ns: Mapping[tuple[str, ...], list[int]]
) -> Module:
    below = (*path, module.name)
    children = tuple(_with_medians(child, below, own_ns) for child in module.children)
    ns = median_low(own_ns[below]) + sum(child.ns for child in children)
    return replace(module, ns=ns, children=children)


def _saved_ns(start: ColdStart, proposal: Proposal, loaded: AbstractSet[str]) -> int:
    """What the import takes of `start` but for modules that are `loaded` without it too."""
    # A parent package is imported first, as a module beside it.
    names = {name.partition(".")[0] for name in proposal.deferrable.modules}
    names.update(proposal.deferrable.modules)
    return sum(
        below.own_ns
        for module in start.walk()
        if module.name == proposal.importer
        for child in module.children
        if child.name in names
        for below in child.walk()
        if below.name not in loaded
    )


def _module(facts: dict[str, Any]) -> Module:
    children = tuple(_module(child) for child in facts["children"])
    return Module(facts["name"], facts["file"], facts["ns"], children)


def _without_needed(proposals: list[Proposal], error: str) -> list[Proposal]:
    """`proposals` but the one that `error` says is needed; none if it does not say."""
    found = _MISSING_NAME.search(error)
    if found is None:
        return []
    name = re.compile(rf"\b{found[1]}\b")
    return [each for each in proposals if not name.search(each.deferrable.statement)]

"""Cold starts of one handler in fresh processes: what each import took, and what could wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdatrace.cli.coldstart.deferral import Deferrable, deferrable_imports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROBE = Path(__file__).with_name("probe.py")
START_S_MAX = 120.0  # far above Lambda's own limit of 10 s for an init
RETRIES_MAX = 10  # each takes one import back that turned out to be needed
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
    """An import that could wait, in the file `path`; `ns` is what it took, at most to be saved."""

    path: str
    deferrable: Deferrable
    ns: int


@dataclass(frozen=True)
class Deferral:
    """What could wait, most costly first, and the handler's import with and without it."""

    proposals: list[Proposal] = field(default_factory=list)
    import_ns: int = 0
    import_without_ns: int = 0


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

    def median(self, runs: int, left_out: Mapping[str, list[int]] | None = None) -> ColdStart:
        """The one of `runs` cold starts whose time is the median. Raises ColdStartError."""
        self._start(left_out)  # fills the page cache, and writes bytecode where it is missing
        starts = sorted(
            (self._start(left_out) for _ in range(runs)), key=lambda start: start.total_ns
        )
        return starts[len(starts) // 2]

    def deferral(self, start: ColdStart, runs: int, min_ns: int) -> Deferral:
        """Which imports of the function's own modules could wait, and what that would save.

        Each took at least `min_ns`. They are tried together: one whose name turns out to be needed
        at import time, or that another module takes from here, is no proposal.
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
                without = self.median(runs, left_out)
            except ColdStartError as error:
                proposals = _without_needed(proposals, str(error))
                continue
            as_is = self.median(runs, own)
            return Deferral(proposals, as_is.import_ns, without.import_ns)
        return Deferral()

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
        proposals = []
        for module in self._own_modules(start):
            took = {child.name: child.ns for child in module.children}
            path = Path(module.file)
            found = deferrable_imports(
                path.read_text("utf-8"), module.name, is_package=path.name == "__init__.py"
            )
            for deferrable in found:
                # A parent package is imported first, as a module beside it.
                parents = {name.partition(".")[0] for name in deferrable.modules}
                ns = sum(took.get(name, 0) for name in parents | set(deferrable.modules))
                if ns >= min_ns:
                    proposals.append(Proposal(module.file, deferrable, ns))
        return sorted(proposals, key=lambda proposal: -proposal.ns)


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

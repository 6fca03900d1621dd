from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.clock import Clock
from lambdatrace.import_times import KEPT_COUNT_MAX, ImportedModule, ImportTimes

if TYPE_CHECKING:
    from pathlib import Path


class TickingClock(Clock):
    """Each look at it is one nanosecond later than the last."""

    __slots__ = ("now_ns",)

    def __init__(self) -> None:
        self.now_ns = 0

    def time_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns


def tree(modules: list[ImportedModule]) -> list[Any]:
    return [[module.name, *tree(module.children)] for module in modules]


def noted(name: str, threshold_ns: int = 0) -> ImportTimes:
    times = ImportTimes(TickingClock(), threshold_ns)
    times.start()
    try:
        import_module(name)
    finally:
        times.stop()
    return times


def test_what_a_module_imports_is_below_it_in_order(folder: Path) -> None:
    (folder / "it_app.py").write_text("import it_first\nfrom it_package import it_inner\n")
    (folder / "it_first.py").write_text("")
    (folder / "it_package").mkdir()
    (folder / "it_package" / "__init__.py").write_text("import it_first\n")
    (folder / "it_package" / "it_inner.py").write_text("")
    times = noted("it_app")
    assert tree(times.modules) == [
        ["it_app", ["it_first"], ["it_package"], ["it_package.it_inner"]]
    ]
    (app,) = times.modules
    assert (app.start_ns, app.end_ns) == (1, 8), "each module looks at the clock twice"


def test_what_is_below_the_threshold_is_left_out_unless_it_imported_what_is_not(
    folder: Path,
) -> None:
    (folder / "it_app.py").write_text("import it_quick\nimport it_slow\n")
    (folder / "it_quick.py").write_text("")
    (folder / "it_slow.py").write_text("import it_below\n")
    (folder / "it_below.py").write_text("")
    assert tree(noted("it_app", threshold_ns=2).modules) == [["it_app", ["it_slow"]]]


def test_a_module_that_fails_is_noted_with_its_error_which_goes_on(folder: Path) -> None:
    (folder / "it_app.py").write_text("import it_broken\n")
    (folder / "it_broken.py").write_text("raise OSError('no')\n")
    times = ImportTimes(TickingClock(), 100)
    times.start()
    with pytest.raises(OSError, match="no"):
        import_module("it_app")
    assert tree(times.modules) == [["it_app", ["it_broken"]]]
    assert [module.error_type for module in times.modules[0].walk()] == ["OSError", "OSError"]


def test_modules_keep_their_own_loaders(folder: Path) -> None:
    (folder / "it_app.py").write_text("value = __loader__\n")
    times = noted("it_app")
    app = sys.modules["it_app"]
    assert type(app.__loader__).__name__ == "SourceFileLoader"
    assert app.value is app.__loader__
    assert times not in sys.meta_path


def test_a_great_many_modules_are_kept_up_to_a_bound(folder: Path) -> None:
    count = KEPT_COUNT_MAX + 20
    names = [f"it_many_{number}" for number in range(count)]
    for name in names:
        (folder / f"{name}.py").write_text("")
    (folder / "it_app.py").write_text("".join(f"import {name}\n" for name in names))
    (app,) = noted("it_app").modules
    assert len(app.children) == KEPT_COUNT_MAX

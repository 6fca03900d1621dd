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


def test_a_failure_below_the_threshold_is_noted_where_it_ended_what_imported_it(
    folder: Path,
) -> None:
    (folder / "it_app.py").write_text(
        "try: import it_absent_extra\nexcept OSError: pass\nimport it_wrapper\n"
    )
    (folder / "it_absent_extra.py").write_text("raise OSError('no')\n")
    (folder / "it_wrapper.py").write_text(
        "try: import it_broken\nexcept OSError as e: raise ValueError('none') from e\n"
    )
    (folder / "it_broken.py").write_text("raise OSError('no')\n")
    times = ImportTimes(TickingClock(), 7)
    times.start()
    with pytest.raises(ValueError, match="none"):
        import_module("it_app")
    assert tree(times.modules) == [["it_app", ["it_wrapper", ["it_broken"]]]]
    (app,) = times.modules
    assert [module.error_type for module in app.walk()] == ["ValueError", "ValueError", "OSError"]
    assert [module.error for module in app.walk()] == [None] * 3, "it would hold all frames"


def test_a_failure_below_the_threshold_that_was_caught_is_no_news(folder: Path) -> None:
    (folder / "it_app.py").write_text("import it_package\n")
    (folder / "it_package.py").write_text("try: import it_fast\nexcept ImportError: pass\n")
    (folder / "it_fast.py").write_text("import it_missing_c_extension\n")
    (folder / "it_missing_c_extension.py").write_text("raise ImportError('no')\n")
    assert tree(noted("it_app", threshold_ns=100).modules) == []
    for name in ("it_app", "it_package"):
        sys.modules.pop(name)
    assert tree(noted("it_app", threshold_ns=6).modules) == [["it_app"]]


def test_a_failure_above_the_threshold_is_noted_with_its_error_type(folder: Path) -> None:
    (folder / "it_app.py").write_text("try: import it_broken\nexcept OSError: pass\n")
    (folder / "it_broken.py").write_text("raise OSError('no')\n")
    (app,) = noted("it_app", threshold_ns=1).modules
    assert [(module.name, module.error_type) for module in app.walk()] == [
        ("it_app", ""),
        ("it_broken", "OSError"),
    ]


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

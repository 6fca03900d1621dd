from __future__ import annotations

import sys
from importlib import import_module, reload
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from lambdatrace.guard import Guard
from lambdatrace.post_import import arm

if TYPE_CHECKING:
    from pathlib import Path


class Door(ModuleType):
    """A door that notes what it was attached to."""

    def __init__(self) -> None:
        super().__init__("the_door")
        self.attached: list[ModuleType] = []
        sys.modules["the_door"] = self

    def attach(self, module: ModuleType) -> None:
        self.attached.append(module)


def test_a_door_is_attached_after_its_module_ran_and_before_its_importer_sees_it(
    folder: Path,
) -> None:
    (folder / "watched.py").write_text("value = 1\n")
    (folder / "other.py").write_text("")
    door = Door()
    arm({"watched": "the_door"}, Guard(is_strict=True))
    import_module("other")
    assert door.attached == []
    watched = import_module("watched")
    assert door.attached == [watched]
    assert watched.value == 1


def test_a_module_imported_before_is_attached_to_at_once(folder: Path) -> None:
    (folder / "watched.py").write_text("")
    watched = import_module("watched")
    door = Door()
    arm({"watched": "the_door"}, Guard(is_strict=True))
    assert door.attached == [watched]


def test_the_module_keeps_its_own_loader_and_can_be_reloaded(folder: Path) -> None:
    (folder / "watched.py").write_text("")
    door = Door()
    arm({"watched": "the_door"}, Guard(is_strict=True))
    watched = import_module("watched")
    assert watched.__spec__ is not None
    assert type(watched.__spec__.loader).__name__ == "SourceFileLoader"
    assert watched.__loader__ is watched.__spec__.loader
    reload(watched)
    assert door.attached == [watched]


def test_a_module_that_fails_raises_what_it_raised_and_is_attached_to_when_it_succeeds(
    folder: Path,
) -> None:
    source = folder / "watched.py"
    source.write_text("raise OSError('no')\n")
    door = Door()
    arm({"watched": "the_door"}, Guard(is_strict=True))
    with pytest.raises(OSError, match="no"):
        import_module("watched")
    source.write_text("value = 'now it works'\n")
    watched = import_module("watched")
    assert door.attached == [watched]


def test_a_door_that_fails_costs_nobody_the_module(folder: Path) -> None:
    (folder / "watched.py").write_text("")
    said: list[str] = []
    arm({"watched": "no_such_door"}, Guard(write=said.append))
    assert import_module("watched").__name__ == "watched"
    (line,) = said
    assert line == "import_module: ModuleNotFoundError: No module named 'no_such_door' (said once)"


def test_a_module_that_is_not_there_is_still_not_there() -> None:
    arm({"watched_but_missing": "the_door"}, Guard(is_strict=True))
    with pytest.raises(ModuleNotFoundError, match="watched_but_missing"):
        import_module("watched_but_missing")

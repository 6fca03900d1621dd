from __future__ import annotations

import sys
from importlib import import_module, reload
from threading import Barrier, Thread
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from lambdatrace import post_import
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
    assert line == "import_door: ModuleNotFoundError: No module named 'no_such_door' (said once)"


def test_doors_that_share_modules_are_whole_whichever_threads_import_what_they_are_for(
    folder: Path,
) -> None:
    # One thread is at a door that imports what the other thread is importing: if that waited for a
    # module of the doors', the interpreter would have to give one of them a half-made one.
    (folder / "watched_a.py").write_text("import time; time.sleep(0.2)\n")
    (folder / "watched_b.py").write_text("import time; time.sleep(0.05)\n")
    (folder / "shared.py").write_text("import watched_a\nS = 1\n")
    for name in ("a", "b"):
        (folder / f"door_{name}.py").write_text(
            "from shared import S\ndef attach(module): module.is_attached = True\n"
        )
    said: list[str] = []
    arm({"watched_a": "door_a", "watched_b": "door_b"}, Guard(write=said.append))
    both = Barrier(2)

    def load(name: str) -> None:
        both.wait(10)
        import_module(name)

    threads = [Thread(target=load, args=(f"watched_{name}",)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert said == []
    assert [sys.modules[f"watched_{name}"].is_attached for name in ("a", "b")] == [True, True]


def test_a_module_that_is_not_there_is_still_not_there() -> None:
    arm({"watched_but_missing": "the_door"}, Guard(is_strict=True))
    with pytest.raises(ModuleNotFoundError, match="watched_but_missing"):
        import_module("watched_but_missing")


def test_a_child_forked_while_another_thread_is_at_a_door_attaches_its_own(folder: Path) -> None:
    (folder / "watched.py").write_text("")
    door = Door()
    arm({"watched": "the_door"}, Guard(is_strict=True))
    assert post_import._loading.acquire(blocking=False)  # by a thread that the child has not
    post_import.forget_parent()
    watched = import_module("watched")
    assert door.attached == [watched]

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import distributions, entry_points
from pathlib import Path
from typing import Any

import pytest

from lambdatrace.guard import Guard
from lambdatrace.layer import build_layer
from lambdatrace.layer.instrumentations import index_of
from lambdatrace.otel import instrumentors
from lambdatrace.otel.instrumentors import WELL_KNOWN, arm, choose, read_index, switch_on

REDIS = ("redis", "redis", "opentelemetry.instrumentation.redis:RedisInstrumentor")
FLASK = ("flask", "flask", "opentelemetry.instrumentation.flask:FlaskInstrumentor")
OWN = ("own", "own_library", "own_instrumentor:Own")


def installed_files() -> dict[str, bytes]:
    """The files of what is installed here that the index is made of, as a layer has them."""
    found = {}
    for distribution in distributions():
        for file in distribution.files or ():
            name = file.as_posix()
            if name.endswith("entry_points.txt") or (
                name.startswith("opentelemetry/instrumentation/") and name.endswith(".py")
            ):
                found[name] = Path(str(distribution.locate_file(file))).read_bytes()
    return found


def test_the_index_of_a_layer_has_the_instrumentors_in_it_but_lambdas() -> None:
    assert index_of(installed_files()).decode().splitlines() == [
        "aiobotocore aiobotocore opentelemetry.instrumentation.botocore:AiobotocoreInstrumentor",
        "botocore botocore opentelemetry.instrumentation.botocore:BotocoreInstrumentor",
        "psycopg psycopg opentelemetry.instrumentation.psycopg:PsycopgInstrumentor",
        "redis redis opentelemetry.instrumentation.redis:RedisInstrumentor",
        "requests requests opentelemetry.instrumentation.requests:RequestsInstrumentor",
    ]
    assert index_of({"requests/api.py": b""}) == b""


def test_a_layer_with_instrumentors_has_their_index(tmp_path: Path) -> None:
    build_layer(tmp_path / "layer.zip", [], packages=installed_files())
    with zipfile.ZipFile(tmp_path / "layer.zip") as archive:
        archive.extract("python/lambdatrace/instrumentations", tmp_path)
    rows = read_index(str(tmp_path / "python/lambdatrace/instrumentations"))
    assert [name for name, _, _ in rows] == [
        *("aiobotocore", "botocore", "psycopg", "redis", "requests")
    ]


def test_the_well_known_ones_are_where_their_entry_points_say() -> None:
    known = {name: place for name, _, place in WELL_KNOWN}
    found = {
        point.name: point.value
        for point in entry_points(group="opentelemetry_instrumentor")
        if point.name in known
    }
    assert sorted(found) == ["botocore", "psycopg", "redis", "requests"]
    assert {name: known[name] for name in found} == found


@pytest.mark.parametrize(
    ("rows", "wanted", "disabled", "expected"),
    [
        ([], (), (), ([], [])),
        ([], ("redis", "flask"), (), ([REDIS, FLASK], [])),
        ([], ("redis", "reddis"), (), ([REDIS], ["reddis"])),
        ([], ("all",), (), (list(WELL_KNOWN), [])),
        ([OWN, REDIS], (), (), ([OWN, REDIS], [])),
        ([OWN, REDIS], ("all",), (), ([OWN, REDIS], [])),
        ([OWN, REDIS], (), ("redis",), ([OWN], [])),
        ([OWN, REDIS], ("none",), (), ([], [])),
        ([OWN], ("own", "flask"), (), ([OWN, FLASK], [])),
        ([OWN], (), ("*",), ([], [])),
    ],
)
def test_which_are_switched_on(
    rows: list[Any], wanted: tuple[str, ...], disabled: tuple[str, ...], expected: object
) -> None:
    assert choose(rows, wanted, disabled) == expected


@pytest.fixture
def folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(instrumentors, "_waiting", {})
    monkeypatch.setattr(instrumentors, "_executed", set())
    return folder


INSTRUMENTOR = """
class Own:
    is_instrumented_by_opentelemetry = False
    calls = []

    def instrument(self):
        import own_library
        self.calls.append(own_library.VALUE)
"""


def test_an_instrumentor_is_switched_on_when_its_library_is_imported(folder: Path) -> None:
    (folder / "own_library.py").write_text("VALUE = 7\n")
    (folder / "own_instrumentor.py").write_text(INSTRUMENTOR)
    index = folder / "instrumentations"
    index.write_text("own own_library own_instrumentor:Own\n")
    assert read_index(str(index)) == [OWN]
    arm(str(index), (), (), Guard(is_strict=True))
    assert "own_instrumentor" not in sys.modules
    import own_library  # type: ignore[import-not-found]  # noqa: F401 - made above

    assert sys.modules["own_instrumentor"].Own.calls == [7]


def test_one_that_is_not_installed_is_left_out_and_one_that_fails_is_not(folder: Path) -> None:
    assert not switch_on("not_installed.at.all:Own")
    (folder / "broken_instrumentor.py").write_text("import not_installed_either\n")
    with pytest.raises(ModuleNotFoundError, match="not_installed_either"):
        switch_on("broken_instrumentor:Own")


def test_a_name_that_there_is_not_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arm(str(folder / "no index"), ("reddis",), (), Guard())
    said = capsys.readouterr().err
    assert (
        "LAMBDATRACE_INSTRUMENTATIONS is 'reddis': expected all, none or some of aio-pika" in said
    )


def test_a_name_that_is_to_stay_off_and_is_of_no_instrumentor_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arm(str(folder / "no index"), ("redis",), ("redsi", "threading", "*"), Guard())
    said = capsys.readouterr().err
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS is 'redsi': expected * or some of aio" in said
    assert said.endswith("taken: threading,* (said once)\n")
    assert "INSTRUMENTATIONS is 'threading'" not in said

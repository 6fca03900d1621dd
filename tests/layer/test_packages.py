"""Packages of others in the layer, from wheels made here."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from lambdatrace.layer.bytecode import LayerError
from lambdatrace.layer.packages import is_pure, package_files, requirements

if TYPE_CHECKING:
    from pathlib import Path

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"


def wheel(folder: Path, name: str, requires: str = "", tag: str = "py3-none-any") -> None:
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": "value = 1\n",
        f"{info}/METADATA": METADATA.format(name=name)
        + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": WHEEL.format(tag=tag),
        f"{info}/entry_points.txt": "[group]\nname = module:Class\n",
    }
    if "none-any" not in tag:
        files[f"{name}/_fast.so"] = "compiled"
    record = "".join(f"{path},,\n" for path in files)
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, content)


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds its packages in this folder and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return folder


def test_a_package_comes_with_what_it_needs_but_what_the_runtime_has(wheels: Path) -> None:
    wheel(wheels, "first", requires="second")
    wheel(wheels, "second", requires="botocore")
    wheel(wheels, "botocore")
    files = package_files(["first"], "3.12", "x86_64")
    assert sorted(files) == [
        "first-1.0.dist-info/METADATA",
        "first-1.0.dist-info/WHEEL",
        "first-1.0.dist-info/entry_points.txt",
        "first/__init__.py",
        "second-1.0.dist-info/METADATA",
        "second-1.0.dist-info/WHEEL",
        "second-1.0.dist-info/entry_points.txt",
        "second/__init__.py",
    ]
    assert files["first/__init__.py"] == b"value = 1\n"
    assert is_pure(list(files))


@pytest.mark.parametrize(("architecture", "machine"), [("x86_64", "x86_64"), ("arm64", "aarch64")])
def test_compiled_packages_are_those_of_the_architecture(
    wheels: Path, architecture: str, machine: str
) -> None:
    for each in ("x86_64", "aarch64"):
        wheel(wheels, "fast", tag=f"cp312-cp312-manylinux2014_{each}")
    files = package_files(["fast"], "3.12", architecture)
    assert f"cp312-cp312-manylinux2014_{machine}" in files["fast-1.0.dist-info/WHEEL"].decode()
    assert not is_pure(list(files))


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(LayerError, match=r"pip cannot install missing-one: ERROR: .*missing-one"):
        package_files(["missing-one"], "3.12", "x86_64")


def test_the_extras_are_the_distributions_own() -> None:
    assert [each.partition(">")[0] for each in requirements(["xray", "patches"])] == [
        "aws-xray-sdk",
        "wrapt",
    ]
    with pytest.raises(LayerError, match="--with 'oтel': expected some of otel, xray, patches"):
        requirements(["oтel"])

"""Packages of others in the layer: what the extras name, for one runtime and architecture.

pip resolves and unpacks them; what Lambda's Python runtimes bring themselves is left out.
Source: Lambda Developer Guide, "Runtime-included SDK versions"; pip, "install --platform".
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.layer.bytecode import LayerError

if TYPE_CHECKING:
    from collections.abc import Sequence

# The extras that make sense inside a function.
EXTRAS = ("otel", "xray", "patches")
# Packages that may be named themselves; the layer's index has their instrumentors.
INSTRUMENTATION = "opentelemetry-instrumentation-"

# boto3 and what it needs are in the runtime (/var/runtime).
OF_THE_RUNTIME = frozenset(
    ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")
)

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}

PIP_S_MAX = 600.0

# What of a wheel no function reads, and what differs from one installation to the next.
_LEFT_OUT = re.compile(r"(^bin/|(^|/)__pycache__/|\.dist-info/(RECORD|INSTALLER|REQUESTED)$)")

_EXTRA = re.compile(r"extra == ['\"](\w+)['\"]")  # the marker at a requirement's end


def requirements(extras: Sequence[str]) -> list[str]:
    """What the extras of lambdatrace require, and the instrumentations that are named themselves.

    Raises LayerError for one that there is not.
    """
    wanted = []
    for extra in extras:
        if extra.startswith(INSTRUMENTATION):
            wanted.append(extra)
            continue
        if extra not in EXTRAS:
            names = f"{', '.join(EXTRAS)} and {INSTRUMENTATION}…"
            raise LayerError(f"--with '{extra}': expected some of {names}")
        wanted += [
            requirement.partition(";")[0].strip()
            for requirement in requires("lambdatrace") or []
            if _EXTRA.findall(requirement) == [extra]
        ]
    return wanted


def package_files(wanted: Sequence[str], version: str, architecture: str) -> dict[str, bytes]:
    """The files of the packages `wanted` and of all they need: path below `python/` → content.

    `version` is a Python's, as 3.12, `architecture` Lambda's name, x86_64 or arm64. Raises
    LayerError if pip cannot find a wheel for one.
    """
    machine = ARCHITECTURES[architecture]
    target = [
        *("--only-binary", ":all:", "--implementation", "cp", "--python-version", version),
        # Amazon Linux 2023 has glibc 2.34, Amazon Linux 2 (Python 3.10 and 3.11) 2.26.
        *(word for tag in _platforms(version, machine) for word in ("--platform", tag)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        place = ["--target", folder, "--no-compile"]
        report = _pip(
            ["install", "--dry-run", "--ignore-installed", "--report", "-", *place, *target],
            wanted,
        )
        found = [item["metadata"] for item in json.loads(report)["install"]]
        pinned = [
            f"{item['name']}=={item['version']}"
            for item in found
            if re.sub(r"[-_.]+", "-", item["name"]).lower() not in OF_THE_RUNTIME
        ]
        _pip(["install", "--no-deps", *place, *target], pinned)
        root = Path(folder)
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not _LEFT_OUT.search(path.relative_to(root).as_posix())
        }


def is_pure(files: Sequence[str]) -> bool:
    """Whether the packages run on every architecture: nothing compiled is among their files."""
    return not any(path.endswith((".so", ".pyd", ".dylib")) for path in files)


def _platforms(version: str, machine: str) -> list[str]:
    minors = [17, 26] if version in ("3.10", "3.11") else [17, 26, 28, 34]
    return [f"manylinux2014_{machine}", *(f"manylinux_2_{minor}_{machine}" for minor in minors)]


def _pip(arguments: Sequence[str], wanted: Sequence[str]) -> str:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    try:
        process = subprocess.run(
            [sys.executable, "-m", "pip", *arguments, *quiet, *wanted],
            capture_output=True,
            text=True,
            timeout=PIP_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LayerError(f"pip was not done after {PIP_S_MAX:.0f} s") from None
    if process.returncode:
        lines = process.stderr.splitlines()
        said = " ".join([line for line in lines if "ERROR" in line or "No module" in line][-2:])
        raise LayerError(f"pip cannot install {', '.join(wanted)}: {said}")
    return process.stdout

"""`lambdatrace layer`: build the Lambda layer as a zip file, and publish it."""

from __future__ import annotations

import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace import __version__
from lambdatrace.layer import (
    ARCHIVE_BYTES_MAX,
    BUNDLES,
    VERSIONS,
    layer_files,
    precompiled,
    zipped,
)
from lambdatrace.layer.bundles import contents_of
from lambdatrace.layer.bytecode import LayerError, find_interpreters, inspect_interpreter
from lambdatrace.layer.packages import (
    ARCHITECTURES,
    EXTRAS,
    is_pure,
    package_files,
    requirements,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lambdatrace.layer.bytecode import Interpreter

UNZIPPED_BYTES_MAX = 250 * 1024 * 1024  # of a function with all its layers (Lambda quotas)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lambdatrace layer build` and `publish`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser(
        "build",
        help="write the zip file",
        description="Build the layer as a zip file; then publish it, or give it to your own tools.",
        epilog="example: lambdatrace layer build --runtime python3.13 --with otel --list",
    )
    publish = actions.add_parser(
        "publish",
        help="build it and publish a version, through boto3",
        description="Build the layer, publish it as a new version, and print the version's ARN. "
        "Needs boto3 and AWS credentials that may lambda:PublishLayerVersion.",
        epilog="example: lambdatrace layer publish --runtime python3.13 --region eu-west-1",
    )
    for action in (build, publish):
        action.add_argument(
            "--runtime",
            action="append",
            default=[],
            metavar="pythonX.Y",
            help="build for this runtime alone, all of it precompiled; may be repeated "
            "(default: every runtime, with what a cold start needs precompiled)",
        )
        action.add_argument(
            "--with",
            dest="extras",
            default="",
            metavar="EXTRA,…",
            help=f"packages to add, some of {', '.join(EXTRAS)} (default: none)",
        )
        action.add_argument(
            "--architecture",
            choices=sorted(ARCHITECTURES),
            help="of the packages that are added (default: this machine's)",
        )
        action.add_argument(
            "--python",
            action="append",
            default=[],
            metavar="PATH",
            help="an interpreter to precompile with, where none is found; may be repeated",
        )
    build.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("lambdatrace-layer.zip"),
        help="the zip file to write (default: %(default)s)",
    )
    build.add_argument("--list", action="store_true", help="list what is in it")
    publish.add_argument("--name", default="lambdatrace", help="the layer's (default lambdatrace)")
    publish.add_argument("--region", help="where to publish it (default: as boto3 finds it)")
    publish.add_argument(
        "--endpoint-url", metavar="URL", help="the Lambda API's (default: AWS's of the region)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Build, and write or publish; 0, or 1 with one line saying what is wrong."""
    try:
        layer = _Layer(arguments)
        if arguments.action == "publish":
            return _publish(layer, arguments)
        arguments.output.write_bytes(layer.archive)
    except (LayerError, OSError) as error:
        sys.stderr.write(f"lambdatrace layer: {error}\n")
        return 1
    for line in layer.describe(arguments.output, is_listed=arguments.list):
        sys.stdout.write(line + "\n")
    return 0


class _Layer:
    """A layer as the arguments want it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        extras = [extra for extra in arguments.extras.split(",") if extra]
        self.versions = [_version(runtime) for runtime in arguments.runtime]
        self._arguments = arguments
        self._machine = arguments.architecture or _own_architecture()
        packages: dict[str, bytes] = {}
        if extras:
            self.versions = self.versions or [".".join(platform.python_version_tuple()[:2])]
            if len(self.versions) > 1:
                raise LayerError("--with: packages are for one runtime, name one --runtime")
            packages = package_files(requirements(extras), self.versions[0], self._machine)
        self.architectures = sorted(ARCHITECTURES) if is_pure(list(packages)) else [self._machine]
        is_for_all = not self.versions
        self.versions = self.versions or list(VERSIONS)
        self.interpreters = _interpreters(self.versions, arguments.python)
        self.files = layer_files(
            self.interpreters,
            is_all_bundled=not is_for_all and len(self.interpreters) == len(self.versions),
            packages=packages,
        )
        self.archive = zipped(self.files)
        if self.unzipped_bytes > UNZIPPED_BYTES_MAX:
            raise LayerError(
                f"{self.unzipped_bytes} bytes unzipped, Lambda takes {UNZIPPED_BYTES_MAX}: "
                "leave extras out"
            )

    @property
    def unzipped_bytes(self) -> int:
        """What counts against Lambda's limit."""
        return sum(map(len, self.files.values()))

    def describe(self, output: Path, *, is_listed: bool) -> list[str]:
        """What was built, and what to do with it."""
        lines = [*self._contents(), ""] if is_listed else []
        lines += [
            f"{output}: {len(self.archive) // 1000} kB, {self.unzipped_bytes // 1000} kB unzipped",
            f"for python{', python'.join(self.versions)} on {' and '.join(self.architectures)}",
            *self._missing(),
        ]
        return [
            *lines,
            f"publish it:   {self.publish_command()}",
            "switch it on: AWS_LAMBDA_EXEC_WRAPPER=/opt/lambdatrace in the function's environment",
        ]

    def _contents(self) -> Iterator[str]:
        """Bytes and path of each file, and below a bundle those of what it holds."""
        for path, content in self.files.items():
            yield f"{len(content):>9,}  {path}"
            if path in BUNDLES:
                for module, tag, size in contents_of(content):
                    yield f"{size:>13,}  {module} ({tag or 'source'})"

    def publish_command(self) -> str:
        """What builds the same layer and publishes it, for a shell."""
        given = self._arguments
        words = ["lambdatrace", "layer", "publish"]
        if given.runtime or given.extras:
            words += [
                word for version in self.versions for word in ("--runtime", f"python{version}")
            ]
        if given.extras:
            words += ["--with", given.extras]
            if len(self.architectures) == 1:
                words += ["--architecture", *self.architectures]
        words += [word for path in given.python for word in ("--python", path)]
        return shlex.join(words)

    def _missing(self) -> list[str]:
        found = {interpreter.version for interpreter in self.interpreters}
        absent = [version for version in self.versions if version not in found]
        done = precompiled(self.files, self.interpreters)
        left = [version for version in self.versions if version in found and version not in done]
        lines = []
        if self._arguments.extras and not self._arguments.runtime:
            lines.append(
                "packages are for one runtime, here this Python's: --runtime names another"
            )
        if absent:
            lines.append(f"not precompiled for {', '.join(absent)}: no such Python (--python PATH)")
        if left:
            lines.append(
                f"not precompiled for {', '.join(left)}, to stay below "
                f"{ARCHIVE_BYTES_MAX // 1000} kB: a layer for one --runtime is, all of it"
            )
        return lines


def _publish(layer: _Layer, arguments: argparse.Namespace) -> int:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise LayerError("publishing needs boto3: pip install boto3") from None

    from lambdatrace.layer.publishing import publish_layer

    try:
        client = boto3.client(
            "lambda", region_name=arguments.region, endpoint_url=arguments.endpoint_url
        )
    except (BotoCoreError, ValueError) as error:
        raise LayerError(f"no client for the Lambda API: {error}") from error
    arn = publish_layer(
        client,
        arguments.name,
        layer.archive,
        versions=layer.versions,
        architectures=layer.architectures,
        description=f"lambdatrace {__version__}",
    )
    sys.stdout.write(arn + "\n")
    return 0


def _version(runtime: str) -> str:
    version = runtime.removeprefix("python")
    if version not in VERSIONS:
        known = ", ".join(f"python{each}" for each in VERSIONS)
        raise LayerError(f"--runtime '{runtime}': expected one of {known}")
    return version


def _own_architecture() -> str:
    machine = platform.machine()
    return next((ours for ours, theirs in ARCHITECTURES.items() if theirs == machine), "x86_64")


def _interpreters(versions: list[str], paths: list[str]) -> list[Interpreter]:
    given = {found.version: found for found in map(inspect_interpreter, paths)}
    found = find_interpreters([version for version in versions if version not in given])
    return sorted(
        (*found, *(each for version, each in given.items() if version in versions)),
        key=lambda interpreter: VERSIONS.index(interpreter.version),
    )

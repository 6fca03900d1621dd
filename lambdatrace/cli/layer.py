"""`lambdatrace layer`: write the Lambda layer as a zip file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.layer import build_layer

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("lambdatrace-layer.zip"),
        help="the zip file to write (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the zip and say what to do with it."""
    try:
        size_bytes = build_layer(arguments.output)
    except OSError as error:
        sys.stderr.write(f"{arguments.output} cannot be written: {error.strerror}\n")
        return 1
    sys.stdout.write(
        f"{arguments.output} ({size_bytes / 1000:.0f} kB)\n"
        "publish it:  aws lambda publish-layer-version --layer-name lambdatrace "
        f"--zip-file fileb://{arguments.output}\n"
        "switch it on: AWS_LAMBDA_EXEC_WRAPPER=/opt/lambdatrace in the function's environment\n"
    )
    return 0

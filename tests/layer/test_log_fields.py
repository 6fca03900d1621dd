"""The fields of log records in functions on another Python than the tests', from a layer."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.layer import build_layer
from lambdatrace.layer.bytecode import LayerError, inspect_interpreter

if TYPE_CHECKING:
    from lambdatrace.layer.bytecode import Interpreter

# What prints its log as the runtime's text handler would, with the three fields in its format.
FUNCTION = """
import json, logging, sys

handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(logging.Formatter("%(trace_id)s %(span_id)s %(trace_flags)s %(message)s"))
logging.getLogger().addHandler(handler)
import lambdatrace

log = lambdatrace.logger("payments")

@lambdatrace.instrument
def handle(event, context):
    with lambdatrace.span("work") as span:
        logging.warning("standard")
        log.warning("structured", order_id=7)
        return [span.trace_id, span.span_id]

logging.warning("before")
ids = handle({}, None)
print(json.dumps(ids))
"""


def others() -> list[Interpreter]:
    """A Python 3.10 and a 3.13 of pyenv's, where they are."""
    found = []
    for version in ("3.10", "3.13"):
        for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))[:1]:
            try:
                found.append(inspect_interpreter(str(path)))
            except LayerError:
                continue
    return found


OTHERS = others()


def printed(interpreter: Interpreter, layer_for: Interpreter, folder: Path) -> list[str]:
    """The lines of FUNCTION on `interpreter`, with a layer for `layer_for`."""
    archive = folder / "layer.zip"
    build_layer(archive, [layer_for], is_all_bundled=True)
    with zipfile.ZipFile(archive) as layer:
        layer.extractall(folder / "opt")
    process = subprocess.run(
        [interpreter.path, "-S", "-B", "-c", FUNCTION],
        cwd=folder,  # which `-c` looks into first
        env={
            "PYTHONPATH": str(folder / "opt" / "python"),
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "OTEL_TRACES_EXPORTER": "none",
            "LAMBDATRACE_JOURNAL": "false",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return process.stdout.splitlines()


@pytest.mark.skipif(not OTHERS, reason="neither Python 3.10 nor 3.13 is in pyenv's versions")
@pytest.mark.parametrize("interpreter", OTHERS, ids=[each.version for each in OTHERS])
def test_log_records_have_the_ids_of_the_span_on_another_python(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    before, standard, structured, answer = printed(interpreter, interpreter, tmp_path)
    trace_id, span_id = json.loads(answer)
    assert int(trace_id, 16)
    assert before == "None None None before"
    assert standard == f"{trace_id} {span_id} 01 standard"
    line: dict[str, Any] = json.loads(structured)
    assert {key: line[key] for key in ("trace_id", "span_id", "trace_flags", "order_id")} == {
        "trace_id": trace_id,
        "span_id": span_id,
        "trace_flags": "01",
        "order_id": 7,
    }
    assert (line["message"], line["level"], line["service"]) == (
        "structured",
        "WARNING",
        "payments",
    )


@pytest.mark.skipif(len(OTHERS) < 2, reason="needs Python 3.10 and 3.13 in pyenv's versions")
def test_log_records_have_the_fields_without_ids_where_the_layer_is_for_yet_another_python(
    tmp_path: Path,
) -> None:
    old, new = OTHERS
    assert printed(old, new, tmp_path) == [
        "None None None before",
        "None None None standard",
        "None None None structured {'order_id': 7}",
        json.dumps(["0" * 32, "0" * 16]),
    ]

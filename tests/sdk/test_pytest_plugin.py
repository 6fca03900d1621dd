"""The fixture `lambdatrace_recording`, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace.testing import recording

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
import lambdatrace
from lambdatrace.testing import LambdaContext


def test_what_is_written(lambdatrace_recording):
    @lambdatrace.instrument
    def handler(event, context):
        lambdatrace.metric("Orders", 3)
        print("printed")

    handler({}, LambdaContext())
    assert [document["Orders"] for document in lambdatrace_recording.metric_documents] == [3]
    assert "printed" in lambdatrace_recording.stdout


def test_the_next_prints_as_ever(capsys):
    print("printed")
    assert capsys.readouterr().out == "printed\\n"
"""


@pytest.mark.parametrize("capture", ["fd", "sys", "tee-sys", "no"])
def test_the_fixture_has_metrics_and_stdout_under_each_capture(
    tmp_path: Path, capture: str
) -> None:
    (tmp_path / "test_app.py").write_text(TESTS)
    options = ["-q", "-p", "no:cacheprovider", f"--capture={capture}"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "2 passed" in ran.stdout, ran.stdout


def test_a_span_looked_up_where_nothing_was_recorded_says_why() -> None:
    @lambdatrace.instrument  # outside of the recording
    def handler(_event: Any, _context: Any) -> None:
        pass

    with recording() as recorded:
        handler({}, None)
        with pytest.raises(LookupError, match=r"imported before the recording.*not awaited"):
            recorded.span("orders")

"""A metric that a signal handler records in the midst of the import of what records metrics."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own, where nothing is loaded yet.
PROGRAM = """
import os, signal, sys
from importlib.machinery import PathFinder
import lambdatrace
from lambdatrace import testing

class Interrupted:
    def __init__(self, loader, is_at_end):
        self.loader, self.is_at_end = loader, is_at_end
    def create_module(self, spec):
        return self.loader.create_module(spec)
    def exec_module(self, module):
        if not self.is_at_end:
            os.kill(os.getpid(), signal.SIGUSR1)
        self.loader.exec_module(module)
        if self.is_at_end:
            os.kill(os.getpid(), signal.SIGUSR1)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != sys.argv[1]:
            return None
        spec = PathFinder.find_spec(name, path, target)
        spec.loader = Interrupted(spec.loader, sys.argv[2] == "end")
        return spec

sys.meta_path.insert(0, Finder())

def interrupt(number, frame):
    tier = {"tier": "gold"}
    lambdatrace.metric("Interrupting", 2, dimensions=tier)

signal.signal(signal.SIGUSR1, interrupt)
with testing.recording() as recorded:
    @lambdatrace.instrument
    def handler(event, context):
        lambdatrace.metric("First", 1)
        lambdatrace.metric("Second", 3)
    handler({}, testing.LambdaContext())
    found = [(name, each[name], each.get("tier"), each["requestId"][:4])
             for each in recorded.metric_documents
             for name in ("First", "Interrupting", "Second") if name in each]
print(sorted(found), recorded.telemetry.guard.failures, recorded.telemetry.metering.dropped)
"""


@pytest.mark.parametrize("moment", ["begin", "end"])
@pytest.mark.parametrize("module", ["lambdatrace.metering", "lambdatrace.metrics"])
def test_it_is_recorded_once_that_is_loaded(module: str, moment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, moment],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == (
        "[('First', 1.0, None, '1111'), ('Interrupting', 2.0, 'gold', '1111'), "
        "('Second', 3.0, None, '1111')] 0 0\n"
    )
    assert done.stderr == ""

"""The CPU time that a busy function gets of its memory size: `python -m benchmarks.cpu_share`.

For each memory size an invoke counts in a loop for some seconds and tells how much CPU time its
process had; a second row has two busy processes, a third two threads outside the interpreter's
lock. Printed: the share of one CPU that was had, by control group and by stopping and continuing,
beside memory size / 1769 MB. First comes what the machine gives without a limit: nothing gets
more than that.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from lambdatrace.harness import Function, Harness

SOURCE = """
import hashlib, os, resource, threading, time

def busy(until):
    while time.monotonic() < until:
        pass

def hash_until(until):
    data = bytes(2**20)
    while time.monotonic() < until:
        hashlib.sha256(data)

def cpu_s():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)

def handler(event, context):
    started, before = time.monotonic(), cpu_s()
    until = started + event["seconds"]
    if event["kind"] == "two processes":
        child = os.fork()
        if child == 0:
            busy(until)
            os._exit(0)
        busy(until)
        os.waitpid(child, 0)
    elif event["kind"] == "two threads":
        threads = [threading.Thread(target=hash_until, args=(until,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        busy(until)
    return (cpu_s() - before) / (time.monotonic() - started)
"""
KINDS = ("one thread", "two processes", "two threads")
VCPU_MB = 1769  # AWS's own figure, not the harness's constant: a wrong one would go unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--memory-sizes", type=int, nargs="*", default=[256, 884, 1769])
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(SOURCE)
        report(folder, 1769, arguments.seconds, "no limit")
        for means in ("control group", "stop, continue"):
            for memory_size_mb in arguments.memory_sizes:
                report(folder, memory_size_mb, arguments.seconds, means)


def report(folder: str, memory_size_mb: int, seconds: float, means: str) -> None:
    function = Function(
        "app",
        "app.handler",
        code_dir=Path(folder),
        memory_size_mb=memory_size_mb,
        timeout_s=seconds * 10 + 10,
    )
    with Harness(
        [function], cpu_limit=means != "no limit", control_groups=means == "control group"
    ) as harness:
        for kind in KINDS:
            had = harness.invoke("app", {"kind": kind, "seconds": seconds}).json()
            wanted = memory_size_mb / VCPU_MB
            print(
                f"{means:15} {memory_size_mb:5} MB  {kind:13}  {had:.3f} of {wanted:.3f} CPUs  "
                f"{(had / wanted - 1) * 100:+.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()

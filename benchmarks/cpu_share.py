"""The CPU time that a busy function gets of its memory size: `python -m benchmarks.cpu_share`.

An invoke counts in a loop and tells how much CPU time its processes had: one thread, two processes,
two threads outside the interpreter's lock, and processes that live for 2 ms each. Invokes without a
limit take turns with it, so that what other programs take at that minute is seen: nobody gets more
than is there. Printed, for control groups and for stopping and continuing: the CPUs had, beside
memory size / 1769 MB, in the round in which most was there both before and after; where that was
less than the share, how far they were from it. What was there and is further off than 10 % makes
the exit status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
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
    elif event["kind"] == "short processes":
        while time.monotonic() < until:
            child = os.fork()
            if child == 0:
                busy(time.monotonic() + 0.002)
                os._exit(0)
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
KINDS = ("one thread", "two processes", "two threads", "short processes")
VCPU_MB = 1769  # AWS's own figure, not the harness's constant: a wrong one would go unseen
WITHIN = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-sizes", type=int, nargs="*", default=[256, 884, 1769])
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    off = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(SOURCE)
        for means in ("control group", "stop, continue"):
            for memory_size_mb in arguments.memory_sizes:
                off += report(folder, memory_size_mb, means, arguments.seconds, arguments.rounds)
    print(f"further off than {WITHIN:.0%}: {'; '.join(off) or 'none'}")
    sys.exit(1 if off else 0)


def report(folder: str, memory_size_mb: int, means: str, seconds: float, rounds: int) -> list[str]:
    """Prints one row for each kind of load; gives the names of those that are off."""
    function = Function(
        "app",
        "app.handler",
        code_dir=Path(folder),
        memory_size_mb=memory_size_mb,
        timeout_s=seconds * 10 + 10,
    )
    off = []
    with (
        Harness([function]) as free,
        Harness([function], cpu_limit=True, control_groups=means == "control group") as limited,
    ):
        for kind in KINDS:
            event = {"kind": kind, "seconds": seconds}
            taken = []
            there = free.invoke("app", event).json()
            for _ in range(rounds):
                had = limited.invoke("app", event).json()
                before, there = there, free.invoke("app", event).json()
                taken.append((min(before, there), had))
            least, had = max(taken)
            wanted = memory_size_mb / VCPU_MB
            error = had / min(wanted, least) - 1
            name = f"{means}, {memory_size_mb} MB, {kind}"
            is_there = least >= wanted * (1 - WITHIN / 2)
            if is_there and abs(error) > WITHIN:
                off.append(name)
            print(
                f"{name:42} {had:.3f} of {wanted:.3f} CPUs, {least:.3f} there: "
                f"{error * 100:+.1f} %{'' if is_there else ' of what was there'}",
                flush=True,
            )
    return off


if __name__ == "__main__":
    main()

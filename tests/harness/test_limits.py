"""The limits of an execution environment, as the function in it feels them."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import Function, FunctionConfigurationError, Harness
from lambdatrace.harness.control_groups import ControlGroups
from lambdatrace.harness.limits import EnvironmentLimits, Limits, cpu_share
from lambdatrace.harness.mounts import OWN_TASK_ROOT, PRIVATE_TMP, READ_ONLY, SIZED_TMP
from tests.harness.test_lifecycle import invoke, started, wait_gone

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Run = Callable[..., AbstractContextManager[Harness]]

PIDS = """
    import os

    def handler(event, context):
        return [os.getpid()]
"""


def needs(harness: Harness, *, able: int = 0, groups: bool = False) -> None:
    """Skips the test where the machine does not permit what it is about."""
    assert harness._service is not None
    limits = harness._service.supervisor.limits
    if limits.able & able != able or (groups and not limits.groups.folders):
        pytest.skip(f"not permitted here: {harness.unenforced}")


def groups_of(pid: int) -> dict[str, Path]:
    """The control groups of a process that are a harness's, by controller."""
    lines = [
        line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().split("\n")[:-1]
    ]
    return {
        name: Path("/sys/fs/cgroup", name, path[1:])
        for _, name, path in lines
        if "lambdatrace-" in path
    }


def groups_left() -> list[str]:
    """The control groups of this process's harnesses and of those that are no more."""
    found = Path("/sys/fs/cgroup").glob("*/lambdatrace-*")
    pids = [(path, path.name.split("-")[1]) for path in found]
    return [
        str(path)
        for path, pid in pids
        if pid == str(os.getpid()) or not Path("/proc", pid).exists()
    ]


def mounts_left() -> list[str]:
    return [
        line
        for line in Path("/proc/self/mountinfo").read_text().split("\n")
        if "lambdatrace" in line
    ]


def test_tmp_is_full_at_its_size(run: Run) -> None:
    source = """
        import os

        def handler(event, context):
            size = os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize
            try:
                with open("/tmp/large", "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, 600 * 2**20)
            except OSError as error:
                return [size, str(error)]
    """
    with run(source) as harness:
        needs(harness, able=SIZED_TMP)
        result = harness.invoke("app")
    assert result.json() == [512 * 2**20, "[Errno 28] No space left on device"]


def test_a_function_may_keep_more_in_tmp_than_it_has_memory(run: Run) -> None:
    source = """
        def handler(event, context):
            with open("/tmp/file", "wb") as file:
                for _ in range(200):
                    file.write(bytes(2**20))
    """
    with run(source, timeout_s=20) as harness:
        needs(harness, able=SIZED_TMP)
        assert harness.invoke("app").function_error == ""
        harness.wait_frozen("app")
        [facts] = harness.executions("app")
    assert facts.report is not None
    assert facts.report.max_memory_used_mb < 100


def test_ephemeral_storage_is_the_size_of_tmp(run: Run) -> None:
    source = """
        import os

        def handler(event, context):
            return os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize // 2**20
    """
    with run(source, ephemeral_storage_mb=1024) as harness:
        needs(harness, able=SIZED_TMP)
        assert harness.invoke("app").json() == 1024


def test_the_code_and_the_layers_cannot_be_written_to(run: Run, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "data").write_text("x")
    source = """
        def attempt(path):
            try:
                open(path, "w")
            except OSError as error:
                return str(error)

        def handler(event, context):
            return [attempt("file"), attempt("/opt/data"), attempt("/tmp/file")]
    """
    with run(source, layers=[layer]) as harness:
        needs(harness, able=READ_ONLY)
        result = harness.invoke("app")
    assert result.json() == [
        "[Errno 30] Read-only file system: 'file'",
        "[Errno 30] Read-only file system: '/opt/data'",
        None,
    ]
    (tmp_path / "code" / "file").write_text("ours is still writable")


def test_a_function_that_empties_tmp_spares_the_interpreter_that_lies_below_it(
    run: Run, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "module.py").touch()
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={venv} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    source = """
        import os, shutil, sys

        def handler(event, context):
            open("/tmp/own", "w").close()
            errors = []
            for name in os.listdir("/tmp"):
                path = os.path.join("/tmp", name)
                if os.path.isdir(path):
                    shutil.rmtree(path, onerror=lambda *failure: errors.append(failure[2][1].errno))
                else:
                    os.remove(path)
            return [event in sys.path, os.path.exists("/tmp/own"), sorted(set(errors))]
    """
    with run(source, python=str(python)) as harness:
        needs(harness, able=READ_ONLY)
        result = harness.invoke("app", str(venv))
    is_on_path, is_own_left, errors = result.json()
    assert (is_on_path, is_own_left, errno.EROFS in errors) == (True, False, True)
    assert (venv / "module.py").exists()
    assert python.exists()


def test_code_is_in_var_task_and_opt_empty_without_layers(run: Run) -> None:
    source = """
        import os, sys, traceback

        def attempt(path):
            try:
                open(path, "w")
            except OSError as error:
                return error.strerror

        def handler(event, context):
            files = [__file__, os.environ["LAMBDA_TASK_ROOT"], os.getcwd(), sys.path[0]]
            folders = [os.listdir("/opt"), os.listdir("/var/task"), os.listdir("/tmp")]
            read_only = [attempt("/opt/file"), attempt("/var/task/file")]
            return [files, folders, read_only, sorted(os.listdir("/var"))]
    """
    before = sorted(path.name for path in Path("/var").iterdir())
    with run(source) as harness:
        needs(harness, able=OWN_TASK_ROOT)
        files, folders, read_only, beside = harness.invoke("app").json()
    assert files == ["/var/task/app.py", "/var/task", "/var/task", "/var/task"]
    assert folders[:2] == [[], ["app.py"]]
    assert "lambdatrace-harness" not in str(folders[2])
    assert read_only == ["Read-only file system"] * 2
    assert beside == sorted({*before, "task"})
    assert sorted(path.name for path in Path("/var").iterdir()) == before


def test_code_that_is_linked_to_what_is_beside_it_runs_where_it_is(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "other").symlink_to("app.py")
    with run("def handler(event, context): return __file__") as harness:
        needs(harness, able=OWN_TASK_ROOT)
        assert harness.invoke("app").json() == "/var/task/app.py"
    (tmp_path / "shared.py").touch()
    (tmp_path / "code" / "shared.py").symlink_to("../shared.py")
    with run("def handler(event, context): return __file__") as harness:
        assert harness.invoke("app").json() == str(tmp_path / "code" / "app.py")


def test_a_process_has_1024_descriptors(run: Run) -> None:
    source = """
        import os, resource

        def handler(event, context):
            opened = []
            try:
                while True:
                    opened.append(os.open("/dev/null", os.O_RDONLY))
            except OSError as error:
                reason = str(error)
            last = opened[-1]
            for descriptor in opened:
                os.close(descriptor)
            return [resource.getrlimit(resource.RLIMIT_NOFILE), last, reason]
    """
    with run(source) as harness:
        result = harness.invoke("app")
    assert result.json() == [[1024, 1024], 1023, "[Errno 24] Too many open files: '/dev/null'"]


def test_an_environment_has_1024_processes_and_threads(run: Run) -> None:
    source = """
        import threading

        def handler(event, context):
            end = threading.Event()
            before = threading.active_count()
            try:
                for started in range(2000):
                    threading.Thread(target=end.wait).start()
            except RuntimeError as error:
                return [started + before, str(error)]
            finally:
                end.set()
    """
    with run(source, timeout_s=20, memory_size_mb=512) as harness:
        needs(harness, groups=True)
        assert harness.invoke("app").json() == [1024, "can't start new thread"]


def test_a_function_has_the_cpu_time_of_its_memory_size_when_its_init_is_over(run: Run) -> None:
    source = """
        import os, pathlib

        def quota():
            for line in open("/proc/self/cgroup"):
                number, names, path = line.strip().split(":", 2)
                if names.split(",") == ["cpu"]:
                    folder = pathlib.Path("/sys/fs/cgroup/cpu" + path)
                    names = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
                    return [(folder / name).read_text().strip() for name in names]

        in_init = quota()

        def handler(event, context):
            if event == "crash":
                os._exit(1)
            return [in_init, quota()]
    """
    with run(source, cpu_limit=True, memory_size_mb=884, timeout_s=10) as harness:
        needs(harness, groups=True)
        if not Path("/sys/fs/cgroup/cpu").exists():
            pytest.skip("control groups of version 1 only: of version 2 see test_control_groups")
        first = harness.invoke("app").json()
        harness.invoke("app", "crash")
        after_a_reset = harness.invoke("app").json()
    assert first == [["-1", "100000"], ["9994", "20000"]]  # 884 / 1769 of 20 ms
    assert after_a_reset == [["-1", "20000"], ["9994", "20000"]]


@pytest.mark.parametrize("control_groups", [True, False])
def test_a_small_function_is_kept_from_most_of_the_cpu(run: Run, *, control_groups: bool) -> None:
    source = """
        import os, resource, time

        def handler(event, context):
            until = time.monotonic() + 1.0
            child = os.fork()
            while time.monotonic() < until:
                pass
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            used = [resource.getrusage(who) for who in whose]
            return sum(one.ru_utime + one.ru_stime for one in used)
    """
    options = {"cpu_limit": True, "control_groups": control_groups, "memory_size_mb": 128}
    with run(source, timeout_s=30, **options) as harness:
        needs(harness, groups=control_groups)
        before_s = harness.invoke("app").json()
        harness.wait_frozen("app")
        after_s = harness.invoke("app").json()
    assert 0.02 < after_s - before_s < 0.3  # 128 / 1769 of 1 s; two processes would take up to 2 s


def test_without_a_cpu_limit_and_groups_nothing_stops_a_running_function(run: Run) -> None:
    with run(PIDS, control_groups=False) as harness:
        [pid] = harness.invoke("app").json()
        assert groups_of(pid) == {}


def test_without_control_groups_a_busy_function_is_stopped_now_and_then(run: Run) -> None:
    source = """
        import os, time

        def handler(event, context):
            until = time.process_time() + 0.1
            while time.process_time() < until:
                pass
            return os.getpid()
    """
    states: list[str] = []
    options = {"cpu_limit": True, "control_groups": False, "memory_size_mb": 442}
    with run(source, timeout_s=30, **options) as harness:
        pid = harness.invoke("app").json()
        harness.wait_frozen("app")
        caller = threading.Thread(target=harness.invoke, args=("app",))
        caller.start()
        while caller.is_alive():
            states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
            time.sleep(0.002)
        harness.wait_frozen("app")
        assert harness.invoke("app").json() == pid
    first_run = states.index("R") if "R" in states else len(states)
    assert "T" in states[first_run:]


def test_nothing_is_left_of_a_harness_that_stops(run: Run) -> None:
    with run(PIDS, cpu_limit=True) as harness:
        [pid] = harness.invoke("app").json()
        folders = groups_of(pid)
        assert all(folder.is_dir() for folder in folders.values())
        needs(harness, groups=True)
        assert folders
    assert wait_gone([pid]) == []
    assert [folder for folder in folders.values() if folder.exists()] == []
    assert (groups_left(), mounts_left()) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_harness_that_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "app.py").write_text("import os\n\ndef handler(e, c):\n    return [os.getpid()]\n")
    with started(tmp_path, "--cpu-limit") as (process, url):
        pids = invoke(url)
        folders = [folder.parent for folder in groups_of(pids[0]).values()]
        process.send_signal(number)
        process.wait(20)
    assert wait_gone(pids) == []
    deadline = time.monotonic() + 10
    while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [folder for folder in folders if folder.exists()] == []
    assert mounts_left() == []


def test_an_environment_that_goes_takes_its_groups_and_its_tmp_with_it(run: Run) -> None:
    with run(PIDS, cpu_limit=True, idle_timeout_s=0.2) as harness:
        [pid] = harness.invoke("app").json()
        folders = groups_of(pid)
        deadline = time.monotonic() + 10
        while harness.environments("app") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert harness.environments("app") == []
        assert [folder for folder in folders.values() if folder.exists()] == []


def test_what_cannot_be_enforced_is_said_once_in_a_line_each(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits("test", limits_cpu=True, uses_groups=True, wants_private_tmp=True)
    limits.groups.close()
    limits.groups.keep([])
    assert limits.unenforced() == [
        "functions share this machine's /tmp: TMPDIR names a folder for each",
        "EphemeralStorage: /tmp may be filled up to the machine's disk",
        "the function's code and /opt can be written to",
        "LAMBDA_TASK_ROOT is the code's own folder: there is no /var/task",
        "an environment may have more than 1024 processes and threads",
    ]
    limits.able = PRIVATE_TMP | SIZED_TMP | READ_ONLY | OWN_TASK_ROOT
    limits.private = "user"
    assert limits.unenforced() == []
    caplog.set_level(logging.WARNING)
    with run(PIDS) as harness:
        harness.invoke("app")
        said = [r.getMessage() for r in caplog.records if r.name == "lambdatrace.harness"]
        assert said == [f"not enforced on this machine: {line}" for line in harness.unenforced]


def test_what_its_user_switched_off_is_not_said() -> None:
    limits = Limits("test", limits_cpu=False, uses_groups=False, wants_private_tmp=False)
    assert limits.unenforced() == []


@pytest.mark.parametrize("size_mb", [511, 10241])
def test_ephemeral_storage_has_lambdas_bounds(size_mb: int) -> None:
    with pytest.raises(FunctionConfigurationError) as refused:
        Function("app", "app.handler", ephemeral_storage_mb=size_mb)
    assert str(refused.value) == (
        f"ephemeral storage of app is {size_mb} MB: expected 512 to 10240 MB"
    )


def test_an_init_that_takes_more_memory_than_it_may_is_out_of_memory(run: Run) -> None:
    source = """
        import time

        taken = []
        while True:
            taken.append(b"x" * 4_000_000)
            time.sleep(0.005)
    """
    with run(source, timeout_s=20) as harness:
        killed = harness.invoke("app")
        harness.wait_frozen("app")
        log = [e.message for e in harness.logs("app")]
    assert killed.json() == {
        "errorType": "Runtime.OutOfMemory",
        "errorMessage": f"RequestId: {killed.request_id} Error: "
        "Runtime exited with error: signal: killed",
    }
    inits = [m for m in log if m.startswith("INIT_REPORT")]
    assert [m.partition("Phase: ")[2].strip() for m in inits] == [
        "init\tStatus: error\tError Type: Runtime.OutOfMemory",
        "invoke\tStatus: error\tError Type: Runtime.OutOfMemory",
    ]
    [report] = [m for m in log if m.startswith("REPORT")]
    assert "Max Memory Used: 128 MB\tStatus: error\tError Type: Runtime.OutOfMemory" in report


@pytest.mark.parametrize("kind", ["runtime", "child"])
def test_memory_taken_at_once_is_out_of_memory_long_before_the_machine_is(
    run: Run, kind: str
) -> None:
    source = """
        import mmap, os

        def fill():
            pages = mmap.mmap(-1, 2 * 2**30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            chunk = b"x" * 2**26
            for megabytes in range(0, 2048, 64):
                os.write(1, b"%d\\n" % megabytes)
                pages.write(chunk)

        def handler(event, context):
            if event == "child" and os.fork():
                os.wait()
            else:
                fill()
    """
    with run(source, timeout_s=60) as harness:
        killed = harness.invoke("app", kind)
        harness.wait_frozen("app")
        [facts] = harness.executions("app")
        filled = [int(e.message) for e in harness.logs("app") if e.message.strip().isdecimal()]
    assert killed.json()["errorType"] == "Runtime.OutOfMemory"
    assert facts.report is not None
    assert facts.report.max_memory_used_mb == 128
    assert max(filled) < 1024


def test_a_memory_group_has_room_for_the_memory_size_and_a_tmp_in_memory(tmp_path: Path) -> None:
    limits = Limits("test", limits_cpu=False, uses_groups=False, wants_private_tmp=True)
    limits.groups = ControlGroups("name", {"memory": str(tmp_path)})
    function = Function("app", "app.handler", memory_size_mb=256, ephemeral_storage_mb=1024)

    def bounded(name: str, able: int) -> EnvironmentLimits:
        limits.able = able
        return EnvironmentLimits(limits, name, function)

    on_disk, in_memory = bounded("1", PRIVATE_TMP), bounded("2", PRIVATE_TMP | SIZED_TMP)
    written = [
        int(Path(environment.group.folders[0], "memory.limit_in_bytes").read_text()) // 2**20
        for environment in (on_disk, in_memory)
    ]
    assert written == [256, 1280]


def test_a_kill_by_the_kernel_is_told_once(tmp_path: Path) -> None:
    limits = Limits("test", limits_cpu=False, uses_groups=False, wants_private_tmp=True)
    limits.groups = ControlGroups("name", {"memory": str(tmp_path)})
    environment = EnvironmentLimits(limits, "1", Function("app", "app.handler"))
    assert not environment.take_out_of_memory()
    Path(environment.group.folders[0], "memory.oom_control").write_text("under_oom 0\noom_kill 1\n")
    assert [environment.take_out_of_memory() for _ in range(2)] == [True, False]


def test_a_kill_of_another_kind_is_not_for_memory(run: Run) -> None:
    source = """
        import os, signal

        def handler(event, context):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    with run(source) as harness:
        assert harness.invoke("app").json()["errorType"] == "Runtime.ExitError"


def test_a_function_is_what_the_kernel_ends_first_when_the_machine_has_no_memory(run: Run) -> None:
    source = """
        def handler(event, context):
            return int(open("/proc/self/oom_score_adj").read())
    """
    with run(source) as harness:
        assert harness.invoke("app").json() == 1000


def test_1769_mb_are_one_cpu() -> None:
    assert [cpu_share(1769), round(cpu_share(128), 4), round(cpu_share(10240), 2)] == [
        1.0,
        0.0724,
        5.79,
    ]

"""Which control groups are ours to divide, and what is written into them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lambdatrace.harness.control_groups import ControlGroups, parse_bases, remove_stale

V1_GROUPS = "4:memory:/jobs/17\n2:cpu,cpuacct:/\n1:pids:/\n0::/\n"
V1_MOUNTS = (
    "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "31 25 0:27 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "32 25 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "33 25 0:29 / /proc rw,nosuid shared:5 - proc proc rw\n"
)


def v2_mount(target: Path, root: str = "/") -> str:
    return f"30 25 0:26 {root} {target} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def v2_group(folder: Path, enabled: str = "") -> Path:
    """A folder that looks like a version 2 group."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (folder / "cgroup.subtree_control").write_text(enabled)
    return folder


def test_of_version_1_only_controllers_whose_root_we_are_in_are_ours() -> None:
    if os.getuid() != 0:
        pytest.skip("a user's groups are delegated by being writable")
    assert parse_bases(V1_GROUPS, V1_MOUNTS) == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "pids": "/sys/fs/cgroup/pids",
    }


def test_in_a_container_the_folder_that_is_mounted_is_the_root() -> None:
    mounted = "31 25 0:27 /docker/ab12 /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n"
    assert parse_bases("1:pids:/docker/ab12\n", mounted) == {"pids": "/sys/fs/cgroup/pids"}


def test_a_version_2_group_is_one_folder_for_all_controllers(tmp_path: Path) -> None:
    v2_group(tmp_path, enabled="cpu pids\n")
    found = parse_bases("0::/\n", v2_mount(tmp_path))
    assert {name: found[name] for name in ("cpu", "pids")} == {
        "cpu": str(tmp_path),
        "pids": str(tmp_path),
    }


def test_a_group_that_somebody_else_manages_is_left_alone(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("a user's groups are delegated by being writable")
    v2_group(tmp_path / "system.slice" / "ci.service", enabled="cpu pids\n")
    assert parse_bases("0::/system.slice/ci.service\n", v2_mount(tmp_path)) == {}


def test_the_kernels_files_of_version_2_get_the_limits(tmp_path: Path) -> None:
    base = v2_group(tmp_path, enabled="cpu pids\n")
    ours = v2_group(base / f"lambdatrace-{os.getpid()}-name", enabled="cpu pids\n")
    groups = ControlGroups("name", {"cpu": str(base), "pids": str(base)})
    assert groups.folders == [str(ours)]
    (ours / "tmp-1").mkdir()
    (ours / "tmp-1" / "cpu.max").write_text("max 100000\n")
    (ours / "tmp-1" / "cpu.max.burst").write_text("0\n")
    group = groups.make("tmp-1")
    group.limit_cpu(0.5)
    group.limit_processes(1024)
    assert group.folders == (str(ours / "tmp-1"),)
    assert (ours / "tmp-1" / "cpu.max").read_text() == "10000 20000"
    assert (ours / "tmp-1" / "cpu.max.burst").read_text() == "5000"
    group.lift_cpu_limit()
    assert (ours / "tmp-1" / "cpu.max").read_text() == "max"
    assert (ours / "tmp-1" / "pids.max").read_text() == "1024"


def test_memory_is_bounded_without_swap_and_the_kernels_kills_are_counted(tmp_path: Path) -> None:
    version_1, version_2 = tmp_path / "1", tmp_path / "2"
    for base, names in (
        (version_1, ("memory.memsw.limit_in_bytes",)),
        (version_2, ("memory.max", "memory.swap.max")),
    ):
        group = ControlGroups("name", {"memory": str(base)}).make("tmp-1")
        for name in names:
            Path(group.folders[0], name).write_text("")
        group.limit_memory(2**27)
        assert group.oom_kills() == 0
    ours = f"lambdatrace-{os.getpid()}-name/tmp-1"
    assert [
        (version_1 / ours / f"memory.{name}").read_text()
        for name in ("limit_in_bytes", "memsw.limit_in_bytes")
    ] == ["134217728", "134217728"]
    assert [(version_2 / ours / f"memory.{name}").read_text() for name in ("max", "swap.max")] == [
        "134217728",
        "0",
    ]
    (version_2 / ours / "memory.events").write_text("low 0\nhigh 0\nmax 20\noom 2\noom_kill 1\n")
    assert group.oom_kills() == 1
    group = ControlGroups("name", {"memory": str(version_1)}).make("tmp-1")
    (version_1 / ours / "memory.oom_control").write_text(
        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    )
    assert group.oom_kills() == 3


def test_a_group_without_memory_bounds_none_and_has_seen_no_kill(tmp_path: Path) -> None:
    group = ControlGroups("name", {"cpu": str(tmp_path)}).make("tmp-1")
    group.limit_memory(2**27)
    assert (list(Path(group.folders[0]).iterdir()), group.oom_kills()) == ([], 0)


def test_the_smallest_share_is_the_kernels_least_quota(tmp_path: Path) -> None:
    group = ControlGroups("name", {"cpu": str(tmp_path)}).make("tmp-1")
    group.limit_cpu(0.01)
    assert Path(group.folders[0], "cpu.cfs_quota_us").read_text() == "1000"
    assert Path(group.folders[0], "cpu.cfs_period_us").read_text() == "20000"


def test_a_controller_in_which_no_group_can_be_made_is_none(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    groups = ControlGroups("name", {"cpu": str(blocked), "pids": str(tmp_path)})
    assert (groups.limits_cpu, groups.limits_processes) == (False, True)
    groups.keep([])
    assert groups.folders == []
    assert groups.make("tmp-1").folders == ()


def test_groups_of_harnesses_that_are_no_more_are_removed(tmp_path: Path) -> None:
    dead = tmp_path / "lambdatrace-99999999-name"
    living = tmp_path / f"lambdatrace-{os.getpid()}-name"
    other = tmp_path / "system.slice"
    for folder in (dead / "tmp-1", living / "tmp-1", other):
        folder.mkdir(parents=True)
    remove_stale(str(tmp_path))
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted([living.name, other.name])

"""The journal: what is written is read, what is torn or foreign is not."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.journal import HEADER_BYTES, SIZE_MAX, Journal
from lambdatrace.journal_entries import read_entries
from lambdatrace.journal_values import plain
from lambdatrace.plain import type_alone
from lambdatrace.records import ERROR, Event, Link, Span, SpanContext
from lambdatrace.recovery import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(str(tmp_path))
    yield journal
    journal.close()


def everything(entries: list[Any]) -> list[Any]:
    return entries


def forget(journal: Journal) -> None:
    journal.settle(lambda: True, everything)


def look_through(
    journal: Journal, keep: Callable[[list[Any]], list[Any]] = everything, settled: int = 1
) -> None:
    """Say that some entries are of no use any more, and not that all are."""
    journal.settled += settled
    journal.settle(lambda: False, keep)


FILLER = ("timeout", "x" * 100_000)


def held(journal: Journal) -> list[Any]:
    """What a later process would read."""
    return list(read_entries(Path(journal.folder, journal.name).read_bytes()))


@pytest.mark.parametrize("is_mapped", [False, True])
def test_what_is_written_is_read_in_order_until_it_is_reset(
    journal: Journal, *, is_mapped: bool
) -> None:
    if is_mapped:
        forget(journal)
    for number in range(100):
        journal.write(("end", str(number), number, ""))
    assert held(journal) == [("end", str(number), number, "") for number in range(100)]
    forget(journal)
    assert held(journal) == []
    journal.write(("timeout", "after"))
    assert held(journal) == [("timeout", "after")], "and none of those before, which lie behind it"


def test_mapping_keeps_what_was_written_before(journal: Journal) -> None:
    journal.write(("timeout", "before"))
    look_through(journal)
    journal.write(("timeout", "after"))
    assert held(journal) == [("timeout", "before"), ("timeout", "after")]


def test_compacting_keeps_what_is_wanted_and_goes_on_after_it(journal: Journal) -> None:
    for entry in (*("abc"), *[FILLER] * 6):
        journal.write(("timeout", *entry) if entry != FILLER else FILLER)
    look_through(journal, lambda entries: entries[1:2])
    journal.write(("timeout", "d"))
    assert held(journal) == [("timeout", "b"), ("timeout", "d")]
    assert [path.name for path in Path(journal.folder).iterdir()] == [journal.name]


def test_it_is_compacted_only_when_there_is_little_room_and_enough_is_settled(
    journal: Journal,
) -> None:
    looked: list[int] = []

    def keep(entries: list[Any]) -> list[Any]:
        looked.append(len(entries))
        return entries

    look_through(journal, keep, settled=5)
    forget(journal)
    for _ in range(8):
        journal.write(FILLER)
    look_through(journal, keep, settled=0)
    assert looked == [], "there was room, and then nothing to be had"
    look_through(journal, keep)
    for _ in range(3):
        look_through(journal, keep, settled=0)
    look_through(journal, keep, settled=2)
    assert looked == [8], "a quarter of what was kept has to be of no use"
    look_through(journal, keep)
    assert looked == [8, 8]


def test_what_is_added_while_it_is_compacted_is_kept(journal: Journal) -> None:
    for _ in range(8):
        journal.write(FILLER)

    def keep(_entries: list[Any]) -> list[Any]:
        journal.write(("timeout", "meanwhile"))
        return [("timeout", "kept")]

    look_through(journal, keep)
    assert held(journal) == [("timeout", "kept"), ("timeout", "meanwhile")]


def test_what_is_added_while_all_is_found_settled_is_kept(journal: Journal) -> None:
    forget(journal)

    def is_empty() -> bool:
        journal.write(("timeout", "meanwhile"))
        return True

    journal.settle(is_empty, everything)
    assert held(journal) == [("timeout", "meanwhile")]
    forget(journal)
    assert held(journal) == []


def test_threads_lose_nothing_while_it_is_forgotten_and_compacted(journal: Journal) -> None:
    written: list[list[str]] = [[], [], []]
    kept: set[str] = set()
    is_over = threading.Event()

    def write(own: list[str], thread: int) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            name = f"{thread}-{number}"
            before = journal.dropped
            journal.write(("timeout", name, "x" * 500))
            if journal.dropped == before:
                own.append(name)

    def keep(entries: list[Any]) -> list[Any]:
        assert all(entry[0] == "timeout" for entry in entries)
        kept.update(entry[1] for entry in entries)
        return entries[-10:]

    threads = [
        threading.Thread(target=write, args=(own, thread)) for thread, own in enumerate(written)
    ]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            look_through(journal, keep, settled=1000)
    finally:
        is_over.set()
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()
    kept.update(entry[1] for entry in held(journal))
    missing = [name for own in written for name in own if name not in kept]
    assert not missing
    assert sum(map(len, written)) > 100


def test_a_disk_without_room_leaves_the_journal_as_it_was(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write(("timeout", "first"))
    for _ in range(8):
        journal.write(FILLER)
    look_through(journal, settled=0)
    whole = held(journal)
    descriptors = sorted(Path("/proc/self/fd").iterdir())

    def is_full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", is_full)
    with pytest.raises(OSError, match="No space"):
        look_through(journal, lambda entries: entries[:1])
    assert held(journal) == whole
    assert sorted(Path("/proc/self/fd").iterdir()) == descriptors
    assert [path.name for path in Path(journal.folder).iterdir()] == [journal.name]
    journal.write(("timeout", "later"))
    assert held(journal)[-1] == ("timeout", "later")


def test_half_an_entry_on_a_full_disk_is_counted_and_written_over(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda f, data, at: pwrite(f, data[:20], at))
    journal.write(("timeout", "half"))
    monkeypatch.setattr(os, "pwrite", pwrite)
    assert (held(journal), journal.dropped) == ([], 1)
    journal.write(("timeout", "whole"))
    assert held(journal) == [("timeout", "whole")]


def test_two_in_one_process_have_a_file_each(journal: Journal) -> None:
    forget(journal)
    again = Journal(journal.folder)
    journal.write(("timeout", "first"))
    again.write(("timeout", "second"))
    assert held(journal) == [("timeout", "first")]
    assert held(again) == [("timeout", "second")]
    assert is_alive(again.name)
    again.close()


def test_a_full_journal_counts_what_it_could_not_hold(journal: Journal) -> None:
    for _ in range(5):
        journal.write(("settled", "x" * 300_000))
    assert (len(held(journal)), journal.dropped) == (3, 2)
    journal.write(("settled", "small"))
    assert held(journal)[-1] == ("settled", "small"), "what has room is still taken"


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 400), st.integers(0, 255))
def test_no_entry_is_read_that_was_not_written(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], at: int, value: int
) -> None:
    journal = Journal(str(tmp_path_factory.mktemp("journal")))
    entries = [("end", body) for body in bodies]
    for entry in entries:
        journal.write(entry)
    data = bytearray(Path(journal.folder, journal.name).read_bytes())
    journal.close()
    whole = list(read_entries(bytes(data)))
    assert whole == entries
    torn = list(read_entries(bytes(data[: max(at, HEADER_BYTES)])))
    assert torn == entries[: len(torn)]
    if HEADER_BYTES <= at < len(data):
        data[at] = value
        spoilt = list(read_entries(bytes(data)))
        assert spoilt == entries[: len(spoilt)]


def test_bytes_that_are_no_journal_are_refused() -> None:
    for data in (b"", b"x" * 100, b"\x00" * SIZE_MAX):
        with pytest.raises(ValueError, match="no journal of this version"):
            list(read_entries(data))


def test_values_of_other_types_are_written_as_plain_ones(journal: Journal) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    class Name(str):
        __slots__ = ()

    deep: list[Any] = []
    deep.append(deep)
    span = Span("work", SpanContext("1" * 32, "2" * 16), SpanContext("1" * 32, "3" * 16), 5)
    span.set_attributes({"a": Name("x"), "b": {1, 2}, "c": Odd(), "d": ("y", 1.5, None)})
    journal.span(span)
    ((*_, attributes, _, _, _, _, _, _, _, _, _),) = held(journal)
    assert attributes == {
        "a": "x",
        "b": "{1, 2}",
        "c": type_alone(Odd()),
        "d": ["y", 1.5, None],
    }
    assert str(plain(deep)).startswith("[[[[[[[[")


def test_an_ended_span_is_written_whole(journal: Journal) -> None:
    span = Span("work", SpanContext("1" * 32, "2" * 16), None, 5, kind=3, attributes={"a": 1})
    span.events.append(Event("e", 6, {"b": 2}))
    span.add_link(Link(SpanContext("4" * 32, "5" * 16), {"c": 3}))
    span.set_status(ERROR, "no")
    span.end(9)
    journal.span(span)
    assert held(journal) == [
        (
            *("span", "2" * 16, "1" * 32, "", "", "work", 3, 5, 9, {"a": 1}, ERROR, "no"),
            [("e", 6, {"b": 2})],
            [("4" * 32, "5" * 16, True, "", {"c": 3})],
            *(None, 0, 0, 0, ""),
        )
    ]


def test_a_folder_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Journal(str(tmp_path / "file" / "journal"))


def test_the_files_of_others_are_told_and_only_ours_is_deleted(tmp_path: Path) -> None:
    for name in (".lambdatrace-1-1", "users"):
        (tmp_path / name).touch()
    journal = Journal(str(tmp_path))
    assert journal.others() == [".lambdatrace-1-1"]
    journal.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lambdatrace-1-1", "users"]


def test_a_signal_handler_may_record_in_the_midst_of_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(str(tmp_path))
    put = Journal._put_all

    def interrupted(self: Journal, *given: Any) -> None:
        monkeypatch.setattr(Journal, "_put_all", put)
        journal.write(("written", [1]))  # as by a handler of SIGALRM, in the same thread
        put(self, *given)

    monkeypatch.setattr(Journal, "_put_all", interrupted)
    journal.write(("settled", ["a"]))
    journal.write(("settled", ["b"]))
    data = (tmp_path / journal.name).read_bytes()
    assert list(read_entries(data)) == [("settled", ["a"]), ("written", [1]), ("settled", ["b"])]
    journal.close()


def test_a_file_of_the_users_that_has_our_descriptors_number_stays_as_it_is(
    tmp_path: Path,
) -> None:
    journal = Journal(str(tmp_path))
    number = journal._descriptor
    users = tmp_path / "users"
    users.write_bytes(b"x" * 100)
    with users.open("r+b") as opened:
        os.dup2(opened.fileno(), number)  # as a daemon that closes all and opens its own
    journal.write(("timeout", "a"))
    assert (users.read_bytes(), journal.dropped) == (b"x" * 100, 1)
    forget(journal)
    journal.write(("timeout", "b"))
    assert (users.stat().st_size, journal.dropped) == (100, 2)
    journal.close()
    assert os.fstat(number).st_ino == users.stat().st_ino, "which is not ours to close"
    os.close(number)


def test_a_descriptor_that_is_closed_is_no_error(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    os.close(journal._descriptor)
    journal.write(("timeout", "a"))
    forget(journal)
    journal.write(("timeout", "b"))
    assert journal.dropped == 2
    journal.close()
    assert list(tmp_path.iterdir()) == []

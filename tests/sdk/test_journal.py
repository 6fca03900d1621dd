"""The journal: what is written is read, what is torn or foreign is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.journal import HEADER_BYTES, SIZE_MAX, Journal, plain, read_entries
from lambdatrace.plain import type_alone
from lambdatrace.records import ERROR, Event, Link, Span, SpanContext

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(str(tmp_path))
    yield journal
    journal.close()


def held(journal: Journal) -> list[Any]:
    """What a later process would read."""
    return list(read_entries(Path(journal.folder, journal.name).read_bytes()))


@pytest.mark.parametrize("is_mapped", [False, True])
def test_what_is_written_is_read_in_order_until_it_is_reset(
    journal: Journal, *, is_mapped: bool
) -> None:
    if is_mapped:
        journal.map()
    for number in range(100):
        journal.write(("end", str(number), number, ""))
    assert held(journal) == [("end", str(number), number, "") for number in range(100)]
    journal.reset()
    assert held(journal) == []
    journal.write(("timeout", "after"))
    assert held(journal) == [("timeout", "after")], "and none of those before, which lie behind it"


def test_mapping_keeps_what_was_written_before(journal: Journal) -> None:
    journal.write(("timeout", "before"))
    journal.map()
    journal.write(("timeout", "after"))
    assert held(journal) == [("timeout", "before"), ("timeout", "after")]


def test_compacting_keeps_what_is_wanted_and_goes_on_after_it(journal: Journal) -> None:
    journal.map()
    for name in ("a", "b", "c"):
        journal.write(("timeout", name))
    journal.compact(lambda entries: entries[1:2])
    journal.write(("timeout", "d"))
    assert held(journal) == [("timeout", "b"), ("timeout", "d")]
    assert [path.name for path in Path(journal.folder).iterdir()] == [journal.name]


def test_a_full_journal_counts_what_it_could_not_hold(journal: Journal) -> None:
    for _ in range(5):
        journal.write(("timeout", "x" * 300_000))
    assert (len(held(journal)), journal.dropped) == (3, 2)
    journal.write(("timeout", "small"))
    assert held(journal)[-1] == ("timeout", "small"), "what has room is still taken"


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
    ((*_, attributes, _, _, _, _, _, _, _, _),) = held(journal)
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
            *(None, 0, 0, 0),
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

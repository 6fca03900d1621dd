"""The two files of a layer that have the SDK's modules; `finder.py` loads them from there.

A layer is mounted read-only, so what it holds as source alone is compiled anew at each cold start.
`cold_start` has what every cold start loads, as bytecode, and one file is read for it instead of
twenty, which takes a third off; `rest` has what comes after, and sources for other Pythons. The
variants of a module stand side by side, and so do the modules: a zip file, which compresses each
of its files apart, then keeps what they share once. That takes a quarter off bytecode for four
Pythons, and a third off the sources.

A file: the length of its index in four bytes, the index, then the contents. The index is marshalled
in a format that every Python reads: magic number of a Python's bytecode, empty of sources →
(cache tag, {module: (is it a package, start in the file, bytes)}).
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    Place = tuple[bool, int, int]
    Index = dict[bytes, tuple[str, dict[str, Place]]]

_LENGTH_BYTES = 4
_FORMAT = 2  # of marshal: without references, which are not the same in each Python


class Variant(NamedTuple):
    """One module as bytecode for the Python of `tag` and `magic`, or, both empty, as source."""

    module: str
    tag: str
    magic: bytes
    content: bytes


def bundle_file(variants: Iterable[Variant], packages: Container[str]) -> bytes:
    """The content of a file with `variants`, the same for each order of them.

    `packages` has the names of the modules that are packages.
    """
    ordered = _ordered(variants, packages)
    length = len(_index(ordered, packages, 0))  # whatever it starts at: numbers take five bytes
    index = _index(ordered, packages, _LENGTH_BYTES + length)
    contents = b"".join(variant.content for variant in ordered)
    return length.to_bytes(_LENGTH_BYTES, "little") + index + contents


def _ordered(variants: Iterable[Variant], packages: Container[str]) -> list[Variant]:
    """`variants` in the order in which they take least room, zipped.

    What is alike is to be within 32 kB, which is as far back as a zip file looks: the sources of a
    package; the variants of a module, and those of the others that are short: 1 % less.
    """
    newest_first = sorted(sorted(variants), key=lambda each: each.tag, reverse=True)
    sizes: dict[str, list[int]] = {}
    for each in newest_first:
        sizes.setdefault(each.module, []).append(len(each.content))

    def place(each: Variant) -> tuple[str, int, str]:
        if not each.magic:
            package = each.module if each.module in packages else each.module.rpartition(".")[0]
            return package, 0, each.module
        several = sizes[each.module]
        return "", max(several) if len(several) > 1 else 0, each.module

    return sorted(newest_first, key=place)


def _index(ordered: list[Variant], packages: Container[str], start: int) -> bytes:
    index: Index = {}
    for module, tag, magic, content in ordered:
        _, places = index.setdefault(magic, (tag, {}))
        places[module] = (module in packages, start, len(content))
        start += len(content)
    return marshal.dumps(index, _FORMAT)


def contents_of(file: bytes) -> list[tuple[str, str, int]]:
    """Module, cache tag (empty of a source) and bytes of each variant in a file, in order."""
    return sorted(
        (module, tag, size)
        for tag, places in _read_index(file).values()
        for module, (_, _, size) in places.items()
    )


def tags_of(file: bytes) -> set[str]:
    """The cache tags of the Pythons whose bytecode is in a file."""
    return {tag for tag, _ in _read_index(file).values() if tag}


def _read_index(file: bytes) -> Index:
    length = int.from_bytes(file[:_LENGTH_BYTES], "little")
    index: Index = marshal.loads(file[_LENGTH_BYTES:][:length])  # noqa: S302 - written by this module
    return index

"""Chains of invokes, followed by the Lineage of the tracing header."""

from __future__ import annotations

import pytest

from lambdatrace.harness.recursion import follow, function_hash

HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def test_a_functions_hash_has_eight_digits() -> None:
    assert function_hash("arn:aws:lambda:us-east-1:123456789012:function:app") == "68417ee6"


@pytest.mark.parametrize(
    ("incoming", "expected", "before"),
    [
        (HEADER, f"{HEADER};Lineage=1:0000000a:0", 0),
        (f"{HEADER};Lineage=1:0000000a:0", f"{HEADER};Lineage=1:0000000a:1", 1),
        (
            f"{HEADER};Lineage=1:0000000a:4|0000000b:3",
            f"{HEADER};Lineage=1:0000000b:3|0000000a:5",
            5,
        ),
        (
            f"{HEADER};Lineage=1:0000000b:3%7C0000000a:4",
            f"{HEADER};Lineage=1:0000000b:3|0000000a:5",
            5,
        ),
        (f"{HEADER};Lineage=0000000a:1|68fd508a:5", f"{HEADER};Lineage=1:68fd508a:5|0000000a:2", 2),
        (f"{HEADER};Lineage=nonsense;Self=1-x", f"{HEADER};Self=1-x;Lineage=1:0000000a:0", 0),
    ],
)
def test_each_invoke_counts_its_function_in_the_chain(
    incoming: str, expected: str, before: int
) -> None:
    assert follow(incoming, "0000000a") == (expected, before)


def test_a_lineage_forgets_the_functions_that_were_first() -> None:
    header = HEADER
    for number in range(40):
        header, _ = follow(header, f"{number:08x}")
    lineage = header.partition(";Lineage=1:")[2]
    assert [entry[:8] for entry in lineage.split("|")] == [f"{n:08x}" for n in range(8, 40)]

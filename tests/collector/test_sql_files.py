from __future__ import annotations

import re
from importlib.resources import files

import pytest

from lambdatrace_collector.store import sql_files

QUERIES = sorted(
    entry.name.removesuffix(".sql")
    for entry in (files("lambdatrace_collector.store") / "sql" / "queries").iterdir()
)
COMMANDS = sorted(
    entry.name.removesuffix(".sql")
    for entry in (files("lambdatrace_collector.store") / "sql" / "commands").iterdir()
)
# What the embedded engine has and a server's HTTP interface has not, or the other way round.
EMBEDDED_ONLY = re.compile(r"\b(INFILE|OUTFILE|Python\(|file\()", re.IGNORECASE)

STEP = re.compile(
    r"\s*(CREATE (TABLE|MATERIALIZED VIEW)|ALTER TABLE \w+\s+ADD (COLUMN|INDEX)) IF NOT EXISTS \w+"
)


def without_comments(text: str) -> str:
    return re.sub(r"--.*", "", text)


def test_a_schema_file_is_the_same_with_other_comments_and_another_with_other_statements() -> None:
    def digest(text: str) -> str:
        return sql_files.SchemaFile(1, "x", sql_files.split_statements(text)).digest

    plain = "CREATE TABLE t (a String DEFAULT '-- it\\'s');\n"
    commented = "-- it's a table\nCREATE TABLE t (a\n  String DEFAULT '-- it\\'s' -- a's\n);\n"
    assert digest(plain) == digest(commented.replace(" -- a's\n", ""))
    assert digest(plain.replace(");", "\n);")) == digest(commented)
    assert digest(plain) != digest(plain.replace("it", "is"))
    assert digest(plain) != digest(plain.replace("String", "UInt8"))


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_one_statement_that_both_engines_read(name: str) -> None:
    text = without_comments(sql_files.query_text(name))
    assert text.lstrip().startswith("SELECT")
    assert ";" not in text
    assert EMBEDDED_ONLY.search(text) is None


def test_a_part_of_a_query_is_there_when_it_is_named() -> None:
    without = sql_files.query_text("metric_statistics")
    text = sql_files.query_text("metric_statistics+totals")
    assert ("FROM metric_totals FINAL" in text, "metric_totals FINAL" in without) == (True, False)
    begun = text.index("UNION ALL", text.index("metric_samples FINAL"))
    end = text.index("UNION ALL", begun + 1)
    bare = "\n".join(line.rstrip() for line in (text[:begun] + text[end:]).splitlines())
    assert bare == "\n".join(line.rstrip() for line in without.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_one_statement_that_both_engines_run(name: str) -> None:
    text = without_comments(sql_files.command_text(name))
    assert re.match(r"\s*(INSERT INTO|DELETE FROM|ALTER TABLE|TRUNCATE TABLE) [\w{]", text)
    assert ";" not in text
    assert EMBEDDED_ONLY.search(text) is None


def test_the_schema_files_are_numbered_without_gaps_and_may_be_repeated() -> None:
    files_found = sql_files.schema_files()
    statements = [without_comments(text) for file in files_found for text in file.statements]
    assert [file.version for file in files_found] == list(range(1, len(files_found) + 1))
    for statement in statements:
        assert re.match(STEP, statement)
        assert EMBEDDED_ONLY.search(statement) is None


def test_statements_end_at_a_semicolon_that_ends_its_line() -> None:
    text = "-- first; not the end;\nSELECT ';' AS a,\n  1;\n\nSELECT 2;\n"
    assert sql_files.split_statements(text) == (
        "-- first; not the end;\nSELECT ';' AS a,\n  1",
        "SELECT 2",
    )

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from lambdatrace.cli import main
from lambdatrace.cli.coldstart.cold_starts import (
    ColdStart,
    Deferral,
    Module,
    Proposal,
    merged,
)
from lambdatrace.cli.coldstart.deferral import Deferrable, deferrable_imports, names_reached
from lambdatrace.cli.coldstart.flame_graph import flame_graph
from lambdatrace.cli.coldstart.report import report

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000


def deferrable(source: str, name: str = "app", *, is_package: bool = False) -> list[Deferrable]:
    return deferrable_imports(dedent(source), name, is_package=is_package)


def test_an_import_that_only_functions_use_could_wait() -> None:
    assert deferrable(
        """
        import boto3
        from decimal import Decimal as D, Context

        class Cart:
            def total(self):
                return D(1)

        async def load():
            return boto3.client("s3"), lambda: Context()
        """
    ) == [
        Deferrable(2, "import boto3", ("boto3",), ("load",)),
        Deferrable(
            3,
            "from decimal import Decimal as D, Context",
            ("decimal", "decimal.Decimal", "decimal.Context"),
            ("Cart.total", "load"),
        ),
    ]


def test_an_import_that_nothing_uses_is_used_by_no_function() -> None:
    assert deferrable("import a.b\n") == [Deferrable(1, "import a.b", ("a.b",), ())]


def test_a_relative_import_is_named_in_full() -> None:
    (found,) = deferrable("from . import queries\n", "shop.orders")
    assert found.modules == ("shop", "shop.queries")
    (found,) = deferrable("from .db import queries\n", "shop", is_package=True)
    assert found.modules == ("shop.db", "shop.db.queries")


@pytest.mark.parametrize(
    "source",
    [
        "import a\nb = a.c\n",
        "import a\nclass B(a.C): ...\n",
        "import a\n@a.b\ndef f(): ...\n",
        "import a\ndef f(b=a.c): ...\n",
        "import a\ndef f(*, b=a.c): ...\n",
        "import a\ndef f(b: a.C): ...\n",
        "import a\ndef f() -> a.C: ...\n",
        "import a\nb: a.C\n",
        "import a\nb = [a.c for _ in range(3)]\n",
        "import a\nf = lambda b=a.c: b\n",
        "from a import b\n__all__ = ['b']\n",
        "from a import *\n",
        "from __future__ import annotations\n",
        "try:\n    import a\nexcept ImportError:\n    a = None\n",
    ],
)
def test_an_import_that_is_used_while_the_module_is_imported_could_not(source: str) -> None:
    assert deferrable(source) == []


def test_what_only_annotations_use_could_wait_when_they_are_not_evaluated() -> None:
    source = "from __future__ import annotations\nimport a\ndef f(b: a.C) -> a.D: ...\nc: a.E\n"
    assert [found.statement for found in deferrable(source)] == ["import a"]


def module(name: str, ms: float, *children: Module) -> Module:
    return Module(name, f"/task/{name}.py", int(ms * MS), children)


def test_the_tree_is_sorted_by_time_and_small_imports_are_summed_up(tmp_path: Path) -> None:
    app = module("app", 30, module("quick", 0.2), module("a", 5), module("b", 20, module("c", 12)))
    start = ColdStart(10 * MS, 12 * MS, 31 * MS, (app,))
    lines = list(report("app.handler", start, Deferral(), min_ns=MS, top=0, code_dir=tmp_path))
    assert [line.rstrip() for line in lines] == [
        "app.handler: 53.0 ms from the start of the process to the handler",
        "",
        "     10.0 ms  Python itself",
        "     12.0 ms  the runtime client",
        "     31.0 ms  the handler's module",
        "",
        "   with what    itself   module",
        "  it imports",
        "     30.0 ms       4.8   app",
        "     20.0 ms       8.0     b",
        "     12.0 ms      12.0       c",
        "      5.0 ms       5.0     a",
        "      0.2 ms               (1 more, each below 1 ms)",
        "",
        "No import of 1 ms or more could wait.",
    ]


def test_the_median_of_several_starts_is_of_each_modules_own_time_and_adds_up() -> None:
    starts = [
        ColdStart(10 * MS, 20 * MS, 31 * MS, (module("app", 30, module("a", 20)),)),  # itself 10
        ColdStart(11 * MS, 90 * MS, 13 * MS, (module("app", 12, module("a", 5)),)),  # 7
        ColdStart(50 * MS, 21 * MS, 43 * MS, (module("app", 42, module("a", 4)),)),  # 38
    ]
    assert merged(starts) == ColdStart(
        11 * MS, 21 * MS, 16 * MS, (module("app", 15, module("a", 5)),)
    )


def test_what_is_proposed_adds_up_as_it_is_shown(tmp_path: Path) -> None:
    proposals = [
        Proposal(
            f"{tmp_path}/app.py",
            "app",
            Deferrable(2, "import a", ("a",), ("handler", "Cart.pay")),
            int(8.06 * MS),
            is_in_handler=True,
        ),
        Proposal("/lib/x.py", "x", Deferrable(3, "import b", ("b",), ()), int(1.93 * MS)),
    ]
    start = ColdStart(MS, MS, 40 * MS, ())
    deferral = Deferral(proposals, 40 * MS)
    lines = list(report("app.handler", start, deferral, min_ns=MS, top=0, code_dir=tmp_path))
    assert lines[lines.index("") + 8 :] == [
        "These could wait until a function needs them: move the import into it. Their time is",
        "that of all that nothing else loads.",
        "      8.1 ms  app.py:2  import a",
        ("              used by handler, Cart.pay; the first event that comes to it waits instead"),
        "      1.9 ms  /lib/x.py:3  import b",
        "              used by nothing here: it may not be needed at all",
        (
            "Tried without them: the handler's module takes 30.0 ms instead of 40.0 ms, "
            "10.0 ms less."
        ),
    ]


def test_what_the_handler_may_come_to_is_found_by_name_through_modules() -> None:
    app = """
import models
def handler(event, context):
    return models.Order(event).pay()
def unused():
    return models.report()
handle = wrap(handler)
"""
    models = """
class Order:
    def pay(self):
        return charge()
def charge(): ...
def report(): ...
"""
    reached = {"handler", "Order", "pay", "charge"}
    assert names_reached([app, models], "handler") == reached
    assert names_reached([app, models], "handle") == {"handle", *reached}
    assert names_reached([app], "Elsewhere") == {"Elsewhere"}


def test_of_a_large_tree_the_slowest_modules_are_shown_and_how_to_see_all(tmp_path: Path) -> None:
    modules = [module(f"m{number}", number, module(f"n{number}", 1)) for number in range(2, 200)]
    start = ColdStart(MS, MS, MS, tuple(modules))
    lines = list(report("a.h", start, Deferral(), min_ns=MS, top=2, code_dir=tmp_path))
    assert "(the 2 slowest of 396 modules of 1 ms or more; --top 0 shows all)" in lines
    assert sum(line.endswith(("m199", "m198")) for line in lines) == 2
    assert len(lines) < 20


def test_a_flame_graph_has_every_module_as_wide_as_its_time_and_escapes_its_name() -> None:
    start = ColdStart(25 * MS, 25 * MS, 50 * MS, (module("a<b>", 25, module("c", 5)),))
    page = flame_graph("app.handler", start)
    assert page.count("width:25.000%") == 2
    assert page.count("width:50.000%") == 2
    assert "width:20.000%" in page
    assert "a&lt;b&gt;: 25.0 ms, 20.0 ms of it in itself" in page
    assert "a<b>" not in page
    assert page.count("<div") == page.count("</div>")


APP = """
import slow
import needed
from handy import tool

def make():
    return needed.value

made = make()

def late():
    return slow, tool

def handler(event, context): ...
"""


def test_the_command_finds_what_could_wait_and_measures_the_init_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = "import time\ntime.sleep(0.03)\n"
    files = {"app": APP, "slow": slow, "needed": slow + "value = 1\n", "handy": "tool = 1\n"}
    for name, content in files.items():
        (tmp_path / f"{name}.py").write_text(content)
    page = tmp_path / "flame.html"
    command = ["coldstart", "app.handler", "--code-dir", str(tmp_path), "--runs", "1"]
    assert main([*command, "--min-ms", "10", "--html", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "app.py:2  import slow" in shown
    assert "used by late\n" in shown
    assert "import needed" not in shown, "a function that is called at import time needs it"
    assert "import handy" not in shown, "below the threshold"
    assert "Tried without them" in shown
    assert ">needed <small>" in page.read_text()


ASYNC_APP = """
import asyncio
import shared
import lambdatrace
import both
import models

@lambdatrace.instrument
async def handler(event, context):
    return models.new(), both

def late():
    return shared
"""
SLEEP = "import time\ntime.sleep(0.012)\n"


def test_what_is_loaded_in_any_case_or_is_the_functions_own_is_no_proposal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "app": ASYNC_APP,
        "shared": "import slow\n",  # which another one needs too
        "slow": SLEEP,
        "both": "import slow\n" + SLEEP + "slow.time\n",
        "models": "import slow\nimport used\nslow.time\ndef new(): ...\ndef old(): used\n",
        "used": SLEEP,
    }
    for name, content in files.items():
        (tmp_path / f"{name}.py").write_text(content)
    command = ["coldstart", "app.handler", "--code-dir", str(tmp_path), "--runs", "1"]
    assert main([*command, "--min-ms", "10"]) == 0
    advice = capsys.readouterr().out.partition("These could wait")[2]
    proposed = [line.split("ms  ")[1] for line in advice.splitlines() if ".py:" in line]
    assert proposed == ["models.py:2  import used"]


def test_a_module_that_fails_gives_one_line_with_its_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text("raise OSError('no disk')\nhandler = None\n")
    assert main(["coldstart", "app.handler", "--code-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "lambdatrace coldstart: app.py:1: OSError: no disk\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "0"], "--runs is at least 1, --min-ms and --top at least 0"),
        (["--top", "-1"], "--runs is at least 1, --min-ms and --top at least 0"),
        (["--env", "A"], "--env 'A': expected KEY=VALUE"),
        (["--python", "/nowhere/python"], "python '/nowhere/python' cannot be run"),
    ],
)
def test_bad_arguments_give_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): ...\n")
    command = ["coldstart", "app.handler", "--code-dir", str(tmp_path), *arguments]
    assert main(command) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]

"""What `--help` says, and what a command says that misses a package."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from lambdatrace.cli import COMMANDS, EXAMPLES, examples, main
from lambdatrace.cli.collector import MODULES, missing_packages

OWN = [name for name in COMMANDS if name != "collector"]  # whose arguments are another program's


def help_of(*command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"lambdatrace {command}")
    importlib.import_module(f"lambdatrace.cli.{command}").add_arguments(parser)
    return parser


@pytest.mark.parametrize("command", OWN)
def test_a_commands_help_ends_with_examples_that_it_takes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert help_of(command, capsys=capsys).rstrip().endswith(examples(command))
    own = [
        words[1:]
        for line in EXAMPLES[command].splitlines()
        if (words := shlex.split(line.rpartition("| ")[2]))[0] == "lambdatrace"
    ]
    assert own
    for words in own:
        assert words[0] == command
        parser_of(command).parse_args(words[1:])


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found += actions(inner)
        elif "--help" not in action.option_strings:
            found.append(action)
    return found


@pytest.mark.parametrize("command", OWN)
def test_each_options_help_tells_its_default_where_it_has_one(command: str) -> None:
    for action in actions(parser_of(command)):
        assert action.help, action
        if action.option_strings and action.nargs != 0 and action.default not in (None, []):
            assert "default" in action.help, action.option_strings


def test_the_programs_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(capsys=capsys)
    for command in COMMANDS:
        assert f"    {command}" in shown


def test_the_collectors_packages_are_those_of_its_extra() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    extra = text.partition("\ncollector = [")[2].partition("\n]")[0]
    assert sorted(line.strip(' ",').partition(">")[0] for line in extra.split("\n") if line) == [
        *MODULES
    ]
    assert missing_packages() == []


def test_a_demo_without_the_collector_says_in_one_line_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Missing:
        """A finder that knows of no chDB and nothing of gRPC's."""

        def find_spec(self, name: str, *_: Any) -> None:
            if name in ("chdb", "grpc"):
                raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    for name in ("chdb", "grpc"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == (
        "lambdatrace demo needs chdb-core, grpcio: pip install 'lambdatrace[harness,collector]'\n"
    )

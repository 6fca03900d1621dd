"""What the README says of the product is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import hcl2
from aws_lambda_powertools import Logger

from lambdatrace.cli import COMMANDS
from lambdatrace.exporter_settings import EXPORTER_TABLE
from lambdatrace.logs.logger import StructuredLogger
from lambdatrace.settings import HANDLER, TABLE
from lambdatrace.span_limits import LIMIT_TABLE
from lambdatrace.span_scope import SpanHandle

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_settings_table_is_the_settings() -> None:
    rows = [HANDLER, *((row[0], *row[3:]) for row in (*TABLE, *EXPORTER_TABLE)), *LIMIT_TABLE]
    expected = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |"
        for name, default, meaning in rows
    ]
    section = README.partition("## Settings")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == expected


def test_every_method_of_a_span_is_in_its_table() -> None:
    table = README.partition("| of a span |")[2].partition("\n\n")[0]
    named = set(
        re.findall(r"`(\w+)[`(]", "".join(row.split("|")[1] for row in table.split("\n")[2:]))
    )
    assert named == {name for name in vars(SpanHandle) if not name.startswith("_")}


def test_what_of_powertools_logger_it_says_is_there_is_there() -> None:
    table = README.partition("| as in Powertools' Logger |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:] for row in table.splitlines()[2:]]
    named = {
        name
        for row in rows
        if "not there" not in row[1]
        for name in re.findall(r"`([a-z_A-Z]+)`", row[0])
        if hasattr(Logger, name)
    }
    # Powertools' own and those of its loggers' that are not named one by one.
    assert {name for name in named if not hasattr(StructuredLogger, name)} <= {
        *("addHandler", "addFilter", "removeFilter", "handlers"),  # the `logging.Logger`'s
    }
    missing = {name for name in vars(Logger) if name[0] != "_" and name not in named}
    assert missing == {
        *("info", "warning", "error", "clear_buffer", "flush_buffer"),
        *("thread_safe_remove_keys", "thread_safe_clear_keys", "thread_safe_get_current_keys"),
    }


def test_every_folder_and_file_it_names_is_there() -> None:
    section = README.partition("## Where things are")[2].partition("\n## ")[0]
    names = re.findall(r"`([a-z_]+(?:/[a-z_./]*)?)`", section.partition("A record's way")[0])
    assert names != []
    places = [ROOT, ROOT / "lambdatrace", ROOT / "lambdatrace" / "cli", ROOT / "tests"]
    places += [ROOT / "collector" / "lambdatrace_collector"]
    missing = [
        name
        for name in names
        if "/" in name or "." in name
        if not any((place / name).exists() for place in places)
    ]
    assert missing == []


def test_every_folder_of_the_packages_is_on_the_map() -> None:
    section = README.partition("## Where things are")[2].partition("\n## ")[0]
    folders = [path for path in (ROOT / "lambdatrace").iterdir() if (path / "__init__.py").exists()]
    assert [path.name for path in folders if f"`lambdatrace/{path.name}/`" not in section] == []


def test_every_command_it_shows_exists() -> None:
    shown = set(re.findall(r"lambdatrace ([a-z]+)\b", " ".join(re.findall(r"`[^`\n]+`", README))))
    assert shown <= set(COMMANDS)
    assert shown >= {"demo", "start", "invoke", "collector", "layer"}


def test_the_two_commands_come_first() -> None:
    assert README.index("make demo") < README.index("make test") < README.index("## ")


def template(title: str) -> str:
    """The code below the summary `title` of the section on the layer."""
    section = README.partition("## As a layer")[2].partition("\n## ")[0]
    code: str = re.findall(rf"<summary>{title}</summary>\n\n```\w+\n(.*?)```", section, re.DOTALL)[
        0
    ]
    return code


def test_the_sam_template_passes_cloudformations_linter(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(template("SAM"))
    program = str(Path(sys.executable).with_name("cfn-lint"))
    linter = [program, "--regions", "eu-west-1", "--", str(path)]
    linted = subprocess.run(linter, capture_output=True, text=True, timeout=100, check=False)
    assert (linted.returncode, linted.stdout) == (0, ""), linted.stderr


def test_the_terraform_configuration_is_one() -> None:
    parsed = hcl2.loads(template("Terraform"))
    assert [name.strip('"') for block in parsed["resource"] for name in block] == [
        "aws_lambda_layer_version",
        "aws_lambda_function",
    ]


def test_every_template_switches_the_layer_on() -> None:
    for title in ("SAM", "CDK", "Terraform", "Serverless Framework"):
        code = template(title)
        assert "lambdatrace-layer.zip" in code
        assert re.search(r"AWS_LAMBDA_EXEC_WRAPPER\W+/opt/lambdatrace\b", code)
    compile(template("CDK"), "app.py", "exec")


def test_every_template_is_for_the_runtime_and_architecture_of_the_file_it_names() -> None:
    section = README.partition("## As a layer")[2].partition("\n## ")[0]
    built: dict[str, dict[str, str]] = {}
    for line in re.findall(r"^lambdatrace layer build(.*)$", section, re.MULTILINE):
        options = dict(re.findall(r"--([a-z]+) ([\w.-]+)", line.partition("#")[0]))
        output = options.get("output", "lambdatrace-layer.zip")
        assert output not in built, "a build line overwrites another's file"
        built[output] = options
    for title in ("SAM", "CDK", "Terraform", "Serverless Framework"):
        code = template(title)
        (name,) = set(re.findall(r"lambdatrace-layer[\w.-]*\.zip", code))
        runtimes = {".".join(found) for found in re.findall(r"(?i)python_?(3)[._](\d+)", code)}
        assert {f"python{version}" for version in runtimes} == {built[name]["runtime"]}, title
        named = set(re.findall(r"(?i)\b(arm_?64|x86_64)\b", code))
        assert named <= {built[name].get("architecture", *named)}, title

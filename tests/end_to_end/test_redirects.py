"""The handler redirect and the exec wrapper, beside those of others, and when the import fails."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from lambdatrace.layer import EXEC_WRAPPER
from tests.end_to_end.conftest import OtlpReceiver, attributes, invoke_frozen

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.harness import Harness
    from tests.end_to_end.conftest import Deploy

ERROR = 2

APP = """
def handler(event, context):
    return ["app"]
"""
# As `datadog_lambda.handler` and New Relic's wrapper find theirs: while they are imported.
VENDOR = """
import importlib, os

module, _, name = os.environ["DD_LAMBDA_HANDLER"].rpartition(".")
_handler = getattr(importlib.import_module(module), name)

def handler(event, context):
    return ["vendor", *_handler(event, context)]
"""
# As OpenTelemetry's layer does: a wrapper script before the runtime's command.
OTHER_WRAPPER = """\
#!/bin/sh
export ORIG_HANDLER="$_HANDLER"
export _HANDLER=otel_wrapper.handler
exec "$@"
"""
OURS = "lambdatrace.auto.handler"


@pytest.fixture
def deploy(deploy: Deploy) -> Deploy:
    """As for all tests, with our redirect for a handler."""
    return partial(deploy, handler=OURS)


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("handler", "environment"),
    [
        ("vendor.handler", {"DD_LAMBDA_HANDLER": OURS, "LAMBDATRACE_HANDLER": "app.handler"}),
        (OURS, {"LAMBDATRACE_HANDLER": "vendor.handler", "DD_LAMBDA_HANDLER": "app.handler"}),
    ],
)
def test_another_vendors_redirect_is_chained_whichever_comes_first(
    harness: Harness,
    deploy: Deploy,
    receiver: OtlpReceiver,
    handler: str,
    environment: dict[str, str],
) -> None:
    modules = {"app.py": APP, "vendor.py": VENDOR}
    name = deploy(modules, handler=handler, environment=environment)
    assert invoke_frozen(harness, name).json() == ["vendor", "app"]
    assert len(receiver.named(name)) == 1


@pytest.mark.parametrize(
    ("handler", "environment"),
    [
        ("vendor.handler", {"DD_LAMBDA_HANDLER": "app.handler"}),
        ("vendor.handler", {"DD_LAMBDA_HANDLER": OURS, "LAMBDATRACE_HANDLER": "app.handler"}),
    ],
)
def test_the_exec_wrapper_leaves_another_vendors_redirect_in_the_chain(
    harness: Harness,
    deploy: Deploy,
    receiver: OtlpReceiver,
    tmp_path: Path,
    handler: str,
    environment: dict[str, str],
) -> None:
    wrapper = script(tmp_path / "lambdatrace", EXEC_WRAPPER)
    environment = {**environment, "AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)}
    modules = {"app.py": APP, "vendor.py": VENDOR}
    name = deploy(modules, handler=handler, environment=environment)
    assert invoke_frozen(harness, name).json() == ["vendor", "app"]
    assert len(receiver.named(name)) == 1


@pytest.mark.parametrize("is_ours_first", [True, False])
def test_the_exec_wrapper_is_chained_with_another(
    harness: Harness,
    deploy: Deploy,
    receiver: OtlpReceiver,
    tmp_path: Path,
    *,
    is_ours_first: bool,
) -> None:
    ours = script(tmp_path / "lambdatrace", EXEC_WRAPPER)
    other = script(tmp_path / "other", OTHER_WRAPPER)
    first, second = (ours, other) if is_ours_first else (other, ours)
    both = script(tmp_path / "both", f'#!/bin/sh\nexec {first} {second} "$@"\n')
    modules = {"app.py": APP, "otel_wrapper.py": VENDOR.replace("DD_LAMBDA", "ORIG")}
    environment = {"AWS_LAMBDA_EXEC_WRAPPER": str(both)}
    name = deploy(modules, handler="app.handler", environment=environment)
    assert invoke_frozen(harness, name).json() == ["vendor", "app"]
    assert len(receiver.named(name)) == 1


def test_the_decorator_and_the_redirect_are_one_invocation(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    source = """
        import lambdatrace

        @lambdatrace.instrument
        async def handler(event, context):
            return ["app"]
    """
    name = deploy({"app.py": source}, environment={"LAMBDATRACE_HANDLER": "app.handler"})
    assert invoke_frozen(harness, name).json() == ["app"]
    assert len(receiver.named(name)) == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"LAMBDATRACE_HANDLER": OURS},
            "'lambdatrace.auto': LAMBDATRACE_HANDLER is 'lambdatrace.auto.handler'",
        ),
        (
            {"LAMBDATRACE_HANDLER": "vendor.handler", "DD_LAMBDA_HANDLER": OURS},
            f"'vendor': LAMBDATRACE_HANDLER is 'vendor.handler', which calls {OURS} again",
        ),
    ],
)
def test_a_chain_without_the_functions_handler_is_one_clear_error(
    harness: Harness, deploy: Deploy, environment: dict[str, str], message: str
) -> None:
    name = deploy({"app.py": APP, "vendor.py": VENDOR}, environment=environment)
    answer = harness.invoke(name, {}).json()
    assert answer["errorType"] == "Runtime.ImportModuleError"
    expected = "expected the function's own handler"
    assert answer["errorMessage"] == f"Unable to import module {message}: {expected}"


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_switched_off_the_function_runs_without_any_of_it(
    harness: Harness, deploy: Deploy, tmp_path: Path, *, is_wrapped: bool
) -> None:
    source = """
        import sys

        def handler(event, context):
            return sorted(name for name in sys.modules if name.startswith("lambdatrace"))
    """
    environment = {"OTEL_SDK_DISABLED": "true", "LAMBDATRACE_HANDLER": "app.handler"}
    if is_wrapped:
        wrapper = script(tmp_path / "lambdatrace", EXEC_WRAPPER)
        environment = {"LAMBDATRACE_ENABLED": "Off", "AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)}
    handler = "app.handler" if is_wrapped else OURS
    name = deploy({"app.py": source}, handler=handler, environment=environment)
    loaded = ["lambdatrace", "lambdatrace.auto", "lambdatrace.switched_off"]
    assert harness.invoke(name, {}).json() == ([] if is_wrapped else loaded)


@pytest.mark.parametrize(
    ("source", "error_type"),
    [
        ("import nothing_of_this_name", "Runtime.ImportModuleError"),
        ("def handler(:\n    pass", "Runtime.UserCodeSyntaxError"),
        ("class Odd(Exception):\n    pass\ndef fail():\n    raise Odd('no')\nfail()", "app.Odd"),
        ("raise ValueError('no')", "ValueError"),
        ("x = 1", "Runtime.HandlerNotFound"),
    ],
)
def test_an_import_that_fails_is_reported_and_raised_as_without_us(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver, source: str, error_type: str
) -> None:
    bare = deploy({"app.py": source}, "bare", handler="app.handler")
    name = deploy({"app.py": source}, environment={"LAMBDATRACE_HANDLER": "app.handler"})
    expected, found = (harness.invoke(function, {}).json() for function in (bare, name))
    shown = json.dumps({**found, "requestId": ""})
    folders = ("/orders/", "/bare/")
    assert shown.replace(*folders) == json.dumps({**expected, "requestId": ""})
    init, imported = receiver.named(f"init {name}")[0], receiver.named("import app")[0]
    for span in (init, imported):
        assert (span.status.code, attributes(span)["error.type"]) == (ERROR, error_type)
    assert imported.parent_span_id == init.span_id
    assert init.start_time_unix_nano < imported.start_time_unix_nano


def test_an_endpoint_that_is_stuck_delays_the_error_of_an_import_by_a_second_at_most(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    receiver.gate.clear()
    source = "import sys\nsys.exit(7)"
    name = deploy({"app.py": source}, environment={"LAMBDATRACE_HANDLER": "app.handler"})
    answer = harness.invoke(name, {}).json()
    assert answer["errorType"] == "Runtime.ExitError"
    assert receiver.arrived.acquire(timeout=1)

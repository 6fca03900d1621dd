from __future__ import annotations

import pytest

from lambdatrace.layer import EXEC_WRAPPER


@pytest.fixture
def _json_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the redirect outside Lambda imports what it is to run."""
    monkeypatch.setenv("LAMBDATRACE_HANDLER", "json.loads")


@pytest.mark.usefixtures("_json_target")
@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LAMBDATRACE_HANDLER": "app.handler"}, "app.handler"),
        ({"LAMBDATRACE_HANDLER": "a/b.handler", "ORIG_HANDLER": "app.handler"}, "a/b.handler"),
        ({"ORIG_HANDLER": "app.handler"}, "app.handler"),
        ({"LAMBDATRACE_HANDLER": "", "DD_LAMBDA_HANDLER": "app.handler"}, "app.handler"),
        ({"NEW_RELIC_LAMBDA_HANDLER": "app.handler"}, "app.handler"),
        ({"LUMIGO_ORIGINAL_HANDLER": "app.handler"}, "app.handler"),
        ({"SENTRY_INITIAL_HANDLER": "app.handler"}, "app.handler"),
        (
            {"LAMBDATRACE_HANDLER": "lambdatrace/auto.handler", "ORIG_HANDLER": "app.handler"},
            "app.handler",
        ),
    ],
)
def test_the_handler_to_run_is_ours_to_name_or_what_another_redirect_has_left(
    environ: dict[str, str], expected: str
) -> None:
    from lambdatrace import auto

    assert auto.target(environ) == expected


@pytest.mark.usefixtures("_json_target")
@pytest.mark.parametrize(
    ("environ", "value"),
    [
        ({}, "''"),
        ({"LAMBDATRACE_HANDLER": "lambdatrace.auto.handler"}, "'lambdatrace.auto.handler'"),
    ],
)
def test_a_redirect_to_nothing_or_to_itself_is_one_clear_error(
    environ: dict[str, str], value: str
) -> None:
    from lambdatrace import auto

    with pytest.raises(ImportError) as error:
        auto.target(environ)
    assert str(error.value) == (
        f"LAMBDATRACE_HANDLER is {value}: expected the function's own handler"
    )


@pytest.mark.usefixtures("_json_target")
def test_the_exec_wrapper_knows_the_same_redirects() -> None:
    from lambdatrace import auto

    assert [name for name in auto.VARIABLES if f"${name} " not in EXEC_WRAPPER] == [
        "LAMBDATRACE_HANDLER"
    ]

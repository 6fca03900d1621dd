from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import pytest
import wrapt

from lambdatrace.patches import wrap

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(params=["without wrapt", "with wrapt"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    if request.param == "without wrapt":
        monkeypatch.delitem(sys.modules, "wrapt")

    class Client:
        def call(self, name: str, *, times: int = 1) -> str:
            """Call it."""
            return name * times

    return Client


def shout(
    wrapped: Callable[..., str], instance: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> str:
    assert type(instance).__name__.endswith("Client")
    return wrapped(*arguments, **keywords).upper()


def test_a_wrapped_method_is_called_with_what_it_was_called_with(library: type[Any]) -> None:
    class OwnClient(library):  # type: ignore[misc]
        pass

    wrap(library, "call", shout)
    assert library().call("ab", times=2) == "ABAB"
    assert OwnClient().call(name="ab") == "AB"
    assert library.call(library(), "ab") == "AB"


def test_a_wrapped_method_keeps_its_name_documentation_and_signature(library: type[Any]) -> None:
    before = library.call
    signature = inspect.signature(before)
    wrap(library, "call", shout)
    assert library.call.__name__ == "call"
    assert library.call.__doc__ == "Call it."
    assert inspect.signature(library.call) == signature
    assert inspect.unwrap(library.call) is before


def test_a_method_is_wrapped_once(library: type[Any]) -> None:
    seen = []

    def note(wrapped: Callable[..., str], _: Any, arguments: Any, keywords: Any) -> str:
        seen.append(1)
        return wrapped(*arguments, **keywords)

    wrap(library, "call", note)
    wrap(library, "call", note)
    assert library().call("ab") == "ab"
    assert seen == [1]


def test_another_tracers_wrapper_goes_above_ours_and_below(library: type[Any]) -> None:
    def dots(wrapped: Callable[..., str], _: Any, arguments: Any, keywords: Any) -> str:
        return f"{wrapped(*arguments, **keywords)}."

    wrapt.wrap_function_wrapper(library, "call", dots)
    wrap(library, "call", shout)
    wrapt.wrap_function_wrapper(library, "call", dots)
    assert library().call("ab") == "AB.."


def test_a_library_without_the_method_is_not_touched(library: type[Any]) -> None:
    with pytest.raises(AttributeError):
        wrap(library, "not_there", shout)
    assert "not_there" not in vars(library)

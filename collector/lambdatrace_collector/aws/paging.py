from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.unicode import is_unicode

if TYPE_CHECKING:
    from collections.abc import Callable

_INTEGERS = range(2**64)  # ids are UInt64 in the store, times are less


def encode_token(*place: Any) -> str:
    """A page token that holds `place`, opaque for clients."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def decode_token(token: str, *types: type, invalid: Callable[[], Exception]) -> tuple[Any, ...]:
    """The place in a token of `encode_token`. Raises `invalid()` when it is not one of `types`."""
    try:
        place = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise invalid() from error
    if not isinstance(place, list) or [type(item) for item in place] != list(types):
        raise invalid()
    if not all(is_unicode(item) if isinstance(item, str) else item in _INTEGERS for item in place):
        raise invalid()
    return tuple(place)

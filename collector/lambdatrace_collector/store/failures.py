"""What the engine's failures mean for who sent the data."""

from __future__ import annotations

import logging

from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from urllib3.exceptions import HTTPError  # what clickhouse-connect's transport raises

from lambdatrace_collector.errors import (
    StoreDownError,
    StoreRejectedError,
    StoreUnavailableError,
)

logger = logging.getLogger(__name__)

PROTOBUF_BAD_CAST = 436  # a number that its field cannot hold

# The data itself is wrong: sent again, it is wrong again.
_DATA_ERRORS = frozenset(
    {
        3,  # UNEXPECTED_END_OF_FILE
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        69,  # ARGUMENT_OUT_OF_BOUND
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        130,  # CANNOT_READ_ARRAY_FROM_TEXT
        131,  # TOO_LARGE_STRING_SIZE
        306,  # TOO_DEEP_RECURSION: JSON that nests
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        395,  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
        PROTOBUF_BAD_CAST,
        437,  # PROTOBUF_FIELD_NOT_REPEATED
        444,  # UNKNOWN_PROTOBUF_FORMAT
        563,  # CANNOT_READ_MAP_FROM_TEXT
    }
)
# Nothing can be written, whatever it is.
_DOWN_ERRORS = frozenset(
    {
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        76,  # CANNOT_OPEN_FILE
        107,  # FILE_DOESNT_EXIST
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED
        586,  # CANNOT_CREATE_FILE
    }
)
_NO_SPACE = "No space left on device"  # what the C++ library says has no code of its own


def translated(
    error: ClickHouseError | OSError,
) -> StoreRejectedError | StoreUnavailableError | StoreDownError:
    """The error to raise for one of the engine, or of the file through which it takes a body."""
    if isinstance(error, OSError):
        logger.error("the store failed: %s", error)
        return StoreDownError(f"the store cannot be written ({error.strerror}): send this later")
    code = getattr(error, "code", None)
    if isinstance(error, DatabaseError) and code in _DATA_ERRORS:
        return StoreRejectedError(short(error), code)
    cause = error.__cause__
    logger.error("the store failed: %s", short(error) if isinstance(cause, HTTPError) else error)
    message = f"the store cannot do this now: {short(error)}"
    if code is None or code in _DOWN_ERRORS or _NO_SPACE in str(error):
        return StoreDownError(message)
    return StoreUnavailableError(message)


def short(error: ClickHouseError) -> str:
    """The engine's sentence, without the stack of stages that follows it and the HTTP around it."""
    cause = error.__cause__
    if isinstance(cause, HTTPError):
        # The error's own text holds the request's URL, and so what users asked for.
        reason = str(getattr(cause, "reason", None) or cause)
        return f"the server does not answer ({reason.rpartition(': ')[2][:200]})"
    text = str(error)
    text = text.partition("server response: ")[2] or text
    for trailer in (": while ", ": In scope", " (version ", " (for url "):
        text = text.partition(trailer)[0].strip()
    return text.splitlines()[0][:300] if text else type(error).__name__

"""What can go wrong in the collector, and whose fault it is.

CollectorError
├── StartupError                 the collector cannot start; one line for the person who started it
│   ├── ListenError              the address cannot be had
│   ├── StoreUrlError            --store is not a URL we know
│   ├── StoreFolderError         the folder cannot be written
│   ├── StoreLockedError         another collector has the folder
│   ├── StoreConnectionError     the ClickHouse server does not answer
│   └── StoreVersionError        the store was made by another version of the collector
├── RequestError                 the client's: answered with its `status` in its protocol's shape
│   ├── BadRequestError          400: the bytes are not what the protocol says
│   ├── NotFoundError            404
│   ├── MethodNotAllowedError    405
│   ├── RequestTimeoutError      408: the body did not arrive in time
│   ├── BodyTooLargeError        413
│   ├── UnsupportedMediaError    415: content type or encoding
│   └── AwsError                 an AWS error code with its message
└── ServiceError                 ours: nothing was stored
    ├── OverloadedError          503: as many bytes wait as we allow; may be sent again
    ├── StoreDownError           503: the engine cannot be reached, or its disk is full: nothing can
    │                            be written; may be sent again
    ├── StoreUnavailableError    503: the engine could not do this now (memory, time); may be sent
    │                            again
    ├── ScanTimeoutError         503: a scan took longer than scans may
    ├── ScanCancelledError       503: a scan was ended by its owner, or because the collector stops
    ├── ScanTooLargeError        503: a scan gives more than it may
    ├── StoreRejectedError       500: the engine refused this very body; sending again is no use
    └── InternalError            500: a mistake in the collector; sending again is no use
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERNAL_SERVER_ERROR = 500  # from this HTTP status on, the server is at fault
RETRIED_STATUSES = (429, 503)  # the only ones that tell clients when to try again
RETRY_AFTER_S = 1  # a group INSERT takes tens of milliseconds: a second drains every queue we allow


class CollectorError(Exception):
    """Root of what the collector raises on purpose."""


class StartupError(CollectorError):
    """The collector cannot start; the message says which value is wrong and what to do."""


class ListenError(StartupError):
    """The address cannot be listened on."""


class StoreUrlError(StartupError):
    """The store's URL is not one we know."""


class StoreFolderError(StartupError):
    """The store's folder cannot be made or written."""


class StoreLockedError(StartupError):
    """Another process has the store's folder."""


class StoreConnectionError(StartupError):
    """The ClickHouse server does not answer, or refuses us."""


class StoreVersionError(StartupError):
    """The store's schema is newer than this collector, or another one."""


class RequestError(CollectorError):
    """The client's fault. `status` is the HTTP status, the message is for the client."""

    status = 400


class BadRequestError(RequestError):
    """The bytes are not what the protocol says."""


class NotFoundError(RequestError):
    """There is no such path or thing."""

    status = 404


class MethodNotAllowedError(RequestError):
    """The path exists, for other methods. `allowed` are those."""

    status = 405

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class RequestTimeoutError(RequestError):
    """The body did not arrive in time."""

    status = 408


class BodyTooLargeError(RequestError):
    """The body is over the limit, as sent or once decompressed."""

    status = 413


class UnsupportedMediaError(RequestError):
    """We do not read this content type or content encoding."""

    status = 415


class AwsError(RequestError):
    """An AWS error: `code` is the exception's name in the service's model.

    The model gives the HTTP status and the query protocol's code; both may be given here for
    errors that are not in it (400 and `code` else). `members` are the error's own, besides its
    message, such as `queryCompileError`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        query_code: str | None = None,
        status: int | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.query_code = query_code
        self.given_status = status
        self.status = status or RequestError.status
        self.members = members or {}


class ServiceError(CollectorError):
    """Ours; nothing was stored. `status` is the HTTP status: after 503 the client may try again."""

    status = 503


class OverloadedError(ServiceError):
    """As many bytes are waiting as we allow; nothing of this request was kept."""


class StoreDownError(ServiceError):
    """The engine cannot be reached, or its disk is full or gone: nothing can be written now."""


class StoreUnavailableError(ServiceError):
    """The engine could not do this now: no memory, no time, or what it does not explain."""


class ScanTimeoutError(ServiceError):
    """A scan of the store took longer than scans may."""


class ScanCancelledError(ServiceError):
    """A scan of the store was ended, by its owner or because the collector stops."""


class ScanTooLargeError(ServiceError):
    """A scan of the store gives more bytes than it may."""


class InternalError(ServiceError):
    """A mistake in the collector: the same request meets it again."""

    status = 500


class StoreRejectedError(ServiceError):
    """The engine refused the data itself: sending it again cannot help.

    `code` is the engine's number for what is wrong; None when it gave none.
    """

    status = 500

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code

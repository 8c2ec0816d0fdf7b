"""Every error of the project, in one tree.

::

    MakiniError
    ├── MakiniConfigurationError        a parameter or a setting is unusable
    │   ├── UnknownResourceError
    │   ├── UnusableTokenError              can't stand in a header
    │   ├── UnknownConnectionError          Airflow finds no such connection            (retryable)
    │   └── UnknownMakiniConnectionError    an application has no such connection
    ├── TokenStoreError                 the place of a rotating pair of tokens fails        (retryable)
    │   ├── TokenStoreUnusableError         no permission, or it holds something else
    │   ├── TokenStoreChangedError          somebody else wrote there since it was read     (retryable)
    │   └── PairNotKeptError                a new pair came and can't be kept
    ├── MakiniRequestError              a request brought no usable answer
    │   ├── MakiniConnectionError       no answer: name lookup, TLS, refused, timed out     (retryable)
    │   ├── MakiniStatusError           an answer with an error status
    │   │   ├── MakiniUnauthorizedError     401
    │   │   │   ├── HeaderNotAcceptedError      the token is not sent as it should be
    │   │   │   ├── TokenExpiredError
    │   │   │   ├── TokenInvalidError           invalid, or revoked
    │   │   │   ├── SourceCredentialsError      those of the connected system, at Makini
    │   │   │   ├── ReauthorizationRequiredError
    │   │   │   └── PermissionMissingError      a 403 too
    │   │   ├── MakiniForbiddenError        403
    │   │   │   └── PermissionMissingError      a 401 too
    │   │   ├── MakiniNotFoundError         404
    │   │   ├── MakiniRateLimitError        429                                             (retryable)
    │   │   ├── MakiniServerError           408, 425, 5xx                                   (retryable)
    │   │   ├── ClientRefusedError          client id and secret are not accepted
    │   │   └── RefreshTokenRefusedError    a refresh token is spent, expired or revoked
    │   └── MakiniProtocolError         a 2xx or 3xx that breaks the contract
    │       ├── MalformedAnswerError        a body that is not what was asked for               (retryable)
    │       ├── MakiniPagingError           pages that loop, repeat or contradict themselves
    │       └── AnswerTooLargeError         more bytes than the client takes
    ├── MakiniSyncError                 a sync can't be done as asked
    │   ├── NoInitialSyncError
    │   └── UnstableReadError           the list changed during every pass                  (retryable)
    ├── MakiniDestinationError          the destination can't be read or written            (retryable)
    │   ├── CorruptCommitError              a commit that does not parse
    │   └── FingerprintError                the stream was landed with other settings
    └── MakiniInboxError                the inbox of webhooks can't be read or written      (retryable)
        └── LeaseLostError                  another worker may have the event

``retryable`` decides what Airflow does: what a retry can't mend fails the task at once.

Those below 401 and 403 are what a diagnosis has found out (:mod:`.diagnosis`); they carry it, and tell it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from makini_provider.api.diagnosis import Diagnosis
    from makini_provider.api.token_shape import TokenShape


class MakiniError(Exception):
    """Base of all errors here.

    :param message: what happened, with the value it happened to; never a secret
    :param remedy: what to do about it
    :param status: HTTP status, where there was an answer
    :param code: the API's error code, such as ``RATE_LIMIT_EXCEEDED``
    :param request_id: what Makini's support asks for
    :param retry_after: seconds after which the server wants to be asked again
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        facts = [
            f"HTTP {self.status}" if self.status is not None else "",
            f"code {self.code}" if self.code else "",
            f"request ID {self.request_id}" if self.request_id else "",
            f"retry after {self.retry_after:g} s" if self.retry_after is not None else "",
        ]
        known = ", ".join(fact for fact in facts if fact)
        return " ".join(part for part in (self.message, f"({known})" if known else "", self.remedy) if part)


class MakiniConfigurationError(MakiniError):
    """A parameter or a setting is unusable; the message names it, its value and the way out."""


class TokenStoreError(MakiniError):
    """The place that holds a rotating pair of tokens can't be read or written."""

    retryable = True


class TokenStoreUnusableError(TokenStoreError):
    """The place answers and won't serve as it is: permission is missing, or it holds something else."""

    retryable = False


class TokenStoreChangedError(TokenStoreError):
    """Somebody else wrote since this one read: what is there now must be read before anything is kept."""


class PairNotKeptError(TokenStoreError):
    """The API gave a new pair of tokens and its store does not take it: the one before is spent."""

    retryable = False


class UnknownResourceError(MakiniConfigurationError):
    """No list endpoint has this name."""


class UnusableTokenError(MakiniConfigurationError):
    """The token can't stand in a header, so that no request was sent.

    :param message: what is wrong with it
    :param remedy: what to do about it
    :param shape: what can be told of it without showing it
    """

    def __init__(self, message: str, *, remedy: str = "", shape: TokenShape) -> None:
        super().__init__(message, remedy=remedy)
        self.shape = shape


class UnknownConnectionError(MakiniConfigurationError):
    """Airflow finds no connection with this id.

    It says the same of one whose secrets backend, or whose API server, did not answer this time.
    """

    retryable = True


class UnknownMakiniConnectionError(MakiniConfigurationError):
    """The application has no connection with this id."""


class MakiniRequestError(MakiniError):
    """A request brought no usable answer."""


class MakiniConnectionError(MakiniRequestError):
    """No answer came: name lookup, TLS, refused, cut off or timed out."""

    retryable = True


class MakiniStatusError(MakiniRequestError):
    """The API answered with an error status.

    ``path`` is that of the request, ``told`` what the API said in its own words, and ``diagnosis`` what was
    found out afterwards, where somebody asked.
    """

    path: str = ""
    told: str = ""
    diagnosis: Diagnosis | None = None

    def __str__(self) -> str:
        return str(self.diagnosis) if self.diagnosis else super().__str__()


class MakiniUnauthorizedError(MakiniStatusError):
    """401: the API does not accept the token."""


class MakiniForbiddenError(MakiniStatusError):
    """403: the token is accepted and may not do this."""


class HeaderNotAcceptedError(MakiniUnauthorizedError):
    """The token does not arrive as it should: it is damaged, or something takes the header away."""


class TokenExpiredError(MakiniUnauthorizedError):
    """The token has run out."""


class TokenInvalidError(MakiniUnauthorizedError):
    """The API does not know the token, or it was revoked."""


class SourceCredentialsError(MakiniUnauthorizedError):
    """Makini's own credentials for the connected system are not valid any more."""


class ReauthorizationRequiredError(MakiniUnauthorizedError):
    """The customer must connect the system to Makini again."""


class PermissionMissingError(MakiniUnauthorizedError, MakiniForbiddenError):
    """The token is good, and may not do this; APIs say so with a 403 or with a 401."""


class MakiniNotFoundError(MakiniStatusError):
    """404: no such record, or no such endpoint on this connection."""


class MakiniRateLimitError(MakiniStatusError):
    """429: too many requests."""

    retryable = True


class MakiniServerError(MakiniStatusError):
    """408, 425 or 5xx: the server could not answer this time."""

    retryable = True


class ClientRefusedError(MakiniStatusError):
    """The token endpoint does not accept the client id and its secret."""


class RefreshTokenRefusedError(MakiniStatusError):
    """The token endpoint does not accept a refresh token: it is spent, expired or revoked."""


class MakiniProtocolError(MakiniRequestError):
    """The answer is not what the contract says; reading it as data would lose records."""


class MalformedAnswerError(MakiniProtocolError):
    """The body is cut off, empty, or a page of something in between; the next one may well be good."""

    retryable = True


class MakiniPagingError(MakiniProtocolError):
    """Pages loop, repeat, or contradict their own ``meta``."""


class AnswerTooLargeError(MakiniProtocolError):
    """The decompressed answer is larger than the client takes."""


class MakiniSyncError(MakiniError):
    """A sync can't be done as asked."""


class NoInitialSyncError(MakiniSyncError):
    """An incremental sync of a stream that has no initial one."""


class UnstableReadError(MakiniSyncError):
    """The list changed during every pass over it, so that none is known to be complete."""

    retryable = True


class MakiniDestinationError(MakiniError):
    """The destination can't be read or written."""

    retryable = True


class CorruptCommitError(MakiniDestinationError):
    """A commit does not parse, so that what the destination holds is not known."""

    retryable = False


class FingerprintError(MakiniDestinationError):
    """The stream was landed with another cursor field, other filters or another dialect."""

    retryable = False


class MakiniInboxError(MakiniError):
    """The inbox of webhooks can't be read or written."""

    retryable = True


class LeaseLostError(MakiniInboxError):
    """The worker's lease on an event has passed, and another may have it."""

    retryable = False

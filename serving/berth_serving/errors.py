"""What can go wrong with a request, in one tree.

    RequestError                 status  TGI error_type   OpenAI type
    ├── ValidationError          422¹    validation       invalid_request_error
    │   ├── UnsupportedParameter 422     validation       invalid_request_error
    │   └── ModelNotFound        404     validation       invalid_request_error
    ├── ContentBlocked           422¹    content_filter   invalid_request_error
    ├── Unauthenticated          401     authentication   invalid_request_error
    ├── Forbidden                403     authorization    invalid_request_error
    ├── NoSuchRoute              404     not_found        invalid_request_error
    ├── MethodNotAllowed         405     not_found        invalid_request_error
    ├── RequestTimeout           408     timeout          invalid_request_error
    ├── PayloadTooLarge          413     validation       invalid_request_error
    ├── WrongMediaType           415     validation       invalid_request_error
    ├── GenerationFailed         424     generation       server_error
    │   └── Drained              424     generation       server_error
    ├── Overloaded               429     overloaded       overloaded_error
    ├── NotReady                 503     healthcheck      server_error
    └── Internal                 500     internal         server_error

¹ 400 under /v1, as OpenAI's clients expect; never 400 for TGI, whose clients
read it as "not a TGI server".

    Interruption                 ends work that is under way; carries no status
    ├── ClientGone               nobody is there to be answered
    └── OutOfTime                the drain's time is over

Nothing of the HTTP library or of an engine's client leaks past these.
"""

# ruff: noqa: N818 - a name says what happened; its base says that it is an error

from __future__ import annotations


class RequestError(Exception):
    """A request that gets an error for an answer.

    Attributes:
        status: HTTP status code.
        error_type: TGI's `error_type`.
        openai_type: the `type` of OpenAI's error object.
        code: OpenAI's machine-readable `code`, or None.
        param: the field at fault, or None.
        retry_after: seconds until a retry may succeed, or None.
    """

    status = 500
    openai_status: int | None = None
    error_type = "internal"
    openai_type = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        code: str | None = None,
        error_type: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.code = code or type(self).code
        self.error_type = error_type or type(self).error_type


class ValidationError(RequestError):
    """The request says something that cannot be done; the message names field, value and what is allowed."""

    status = 422
    openai_status = 400
    error_type = "validation"
    openai_type = "invalid_request_error"
    code = "invalid_value"


class UnsupportedParameter(ValidationError):
    """A valid parameter that the engine behind this server cannot honour."""

    openai_status = 422
    code = "unsupported_parameter"


class ModelNotFound(ValidationError):
    """The request asks for another model than the one served."""

    status = 404
    openai_status = 404
    code = "model_not_found"


class Unauthenticated(RequestError):
    """No key, or one that is not known."""

    status = 401
    error_type = "authentication"
    openai_type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(RequestError):
    """The key is known, and may not do this."""

    status = 403
    error_type = "authorization"
    openai_type = "invalid_request_error"
    code = "insufficient_scope"


class ContentBlocked(RequestError):
    """A filter blocked the prompt or the answer; the message names the filter, never the text."""

    status = 422
    openai_status = 400
    error_type = "content_filter"
    openai_type = "invalid_request_error"
    code = "content_filter"


class NoSuchRoute(RequestError):
    """Nothing is served under this path."""

    status = 404
    error_type = "not_found"
    openai_type = "invalid_request_error"
    code = "unknown_url"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not."""

    status = 405
    error_type = "not_found"
    openai_type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(RequestError):
    """The body did not arrive in time."""

    status = 408
    error_type = "timeout"
    openai_type = "invalid_request_error"
    code = "timeout"


class PayloadTooLarge(RequestError):
    """The body is over PAYLOAD_LIMIT."""

    status = 413
    error_type = "validation"
    openai_type = "invalid_request_error"
    code = "payload_too_large"


class WrongMediaType(RequestError):
    """The body says that it is something else than JSON."""

    status = 415
    error_type = "validation"
    openai_type = "invalid_request_error"
    code = "wrong_media_type"


class GenerationFailed(RequestError):
    """The engine took the request and did not finish it."""

    status = 424
    error_type = "generation"
    code = "generation_failed"


class Drained(GenerationFailed):
    """Still running when the drain's time was over."""


class Overloaded(RequestError):
    """No place in the queue, or the wait for a slot was over its deadline."""

    status = 429
    error_type = "overloaded"
    openai_type = "overloaded_error"
    code = "overloaded"


class NotReady(RequestError):
    """The engine is not there, so nothing was started; a retry is safe."""

    status = 503
    error_type = "healthcheck"
    code = "not_ready"


class Internal(RequestError):
    """A defect of this server. The log has it; the client sees only the request id."""


class Interruption(Exception):
    """Work under way must end now."""


class ClientGone(Interruption):
    """The client closed its connection or stopped reading."""


class OutOfTime(Interruption):
    """The drain's deadline passed."""

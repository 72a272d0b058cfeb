"""Every error that a client can meet, as one tree. Each class has its HTTP status and a stable code.

RiniError
├── BadRequestError               400 bad_request
│   ├── ProviderKeyMissingError   400 provider_key_missing
│   └── NoEmbeddingsError         400 no_embeddings
├── NotAuthenticatedError         401 not_authenticated
├── SignupClosedError             403 signup_closed
├── NotFoundError                 404 not_found
├── MethodNotAllowedError         405 method_not_allowed
├── ConfirmationNeededError       409 confirmation_needed
├── BodyTooLargeError             413 body_too_large
├── InvalidRequestError           422 invalid_request
│   ├── UnsupportedParameterError 422 unsupported_parameter
│   ├── AddressRefusedError       422 address_refused
│   ├── ImageRefusedError         422 image_refused
│   ├── NoVisionError             422 no_vision
│   ├── EmbeddingInputError       422 embedding_input_refused
│   └── NoToolsError              422 no_tools
├── TooManyRequestsError          429 too_many_requests
├── InternalError                 500 internal_error
├── ShuttingDownError             503 shutting_down
├── StorageUnavailableError       503 storage_unavailable
│   └── StorageFullError          507 storage_full
├── FilesUnavailableError         503 files_unavailable
├── KeyUnreadableError            500 provider_key_unreadable
├── ToolServerError               502 tool_server_failed
├── LocalModelError               503 local_model_unavailable
└── ProviderError                 what a provider did; the detail holds its own message
    ├── ProviderKeyRefusedError   401 provider_key_refused
    ├── ProviderBillingError      402 provider_billing
    ├── ProviderPermissionError   403 provider_permission_denied
    ├── ModelNotFoundError        404 model_not_found
    ├── ProviderTooLargeError     413 provider_request_too_large
    ├── ContextTooLongError       422 context_too_long
    ├── ProviderRejectedError     422 provider_rejected_request
    ├── RefusedBySafetyError      422 refused_by_safety
    ├── ProviderRateLimitedError  429 provider_rate_limited (with Retry-After)
    ├── ProviderMalformedError    502 provider_malformed_answer
    ├── ProviderRedirectError     502 provider_redirected
    ├── ProviderUnavailableError  503 provider_unavailable
    │   └── ProviderUnreachableError  503 provider_unreachable
    └── ProviderTimeoutError      504 provider_timeout
        ├── ConnectTimeoutError   504 provider_connect_timeout
        ├── FirstByteTimeoutError 504 provider_first_byte_timeout
        └── StalledError          504 provider_stalled
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar


class RiniError(Exception):
    """An error with a sentence for the client.

    ``detail`` is that sentence; ``fields`` are further members of the problem document (JSON values).
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.fields = fields

    def problem(self) -> dict[str, Any]:
        """Return the RFC 9457 problem document, without the members that belong to one request."""
        return {
            "type": f"urn:rini:error:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.fields,
        }


class BadRequestError(RiniError):
    """The request is well formed and yet cannot be done."""

    status = 400
    code = "bad_request"


class ProviderKeyMissingError(BadRequestError):
    """The user stored no key for the provider."""

    code = "provider_key_missing"


class NoEmbeddingsError(BadRequestError):
    """The provider makes no embeddings."""

    code = "no_embeddings"


class NotAuthenticatedError(RiniError):
    """There is no token, or it is not valid (any more)."""

    status = 401
    code = "not_authenticated"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"www-authenticate": "Bearer"})


class SignupClosedError(RiniError):
    """The operator makes the users."""

    status = 403
    code = "signup_closed"


class NotFoundError(RiniError):
    """It does not exist, or belongs to another user: the answer is the same."""

    status = 404
    code = "not_found"


class MethodNotAllowedError(RiniError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class ConfirmationNeededError(RiniError):
    """More would be lost than was named; the fields say how much."""

    status = 409
    code = "confirmation_needed"


class BodyTooLargeError(RiniError):
    """The body has more bytes than the server takes."""

    status = 413
    code = "body_too_large"


class InvalidRequestError(RiniError):
    """The input is wrong; the detail says where and what would be right."""

    status = 422
    code = "invalid_request"


class UnsupportedParameterError(InvalidRequestError):
    """The provider has no such parameter."""

    code = "unsupported_parameter"


class AddressRefusedError(InvalidRequestError):
    """A user's address leads where it must not."""

    code = "address_refused"


class ImageRefusedError(InvalidRequestError):
    """The file is no image that can be read, or one that the provider does not take."""

    code = "image_refused"


class NoVisionError(InvalidRequestError):
    """The provider or the model reads no images."""

    code = "no_vision"


class EmbeddingInputError(InvalidRequestError):
    """One of the texts cannot be embedded; ``index`` is its place in the list."""

    code = "embedding_input_refused"


class NoToolsError(InvalidRequestError):
    """A tool is asked for that no connection offers."""

    code = "no_tools"


class TooManyRequestsError(RiniError):
    """A limit of this server was reached."""

    status = 429
    code = "too_many_requests"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail, headers={"retry-after": str(math.ceil(retry_after))})


class InternalError(RiniError):
    """A fault of this server. The log has it, under the same request id."""


class ShuttingDownError(RiniError):
    """The server finishes what it has and takes nothing new."""

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The server is shutting down; try again in a moment.", headers={"retry-after": "1"})


class StorageUnavailableError(RiniError):
    """The database does not answer."""

    status = 503
    code = "storage_unavailable"


class StorageFullError(StorageUnavailableError):
    """The disk is full."""

    status = 507
    code = "storage_full"


class FilesUnavailableError(RiniError):
    """The place where files are kept does not answer, or is full."""

    status = 503
    code = "files_unavailable"


class KeyUnreadableError(RiniError):
    """A stored key does not open under any master key that the server has."""

    code = "provider_key_unreadable"


class ToolServerError(RiniError):
    """An MCP server does not answer, or not as the protocol says."""

    status = 502
    code = "tool_server_failed"


class LocalModelError(RiniError):
    """The model in the box is not installed or does not start."""

    status = 503
    code = "local_model_unavailable"


class ProviderError(RiniError):
    """What a provider did. ``provider_status``, ``provider_code`` and ``provider_message`` are its own, as far as it said."""

    status = 502
    code = "provider_error"


class ProviderKeyRefusedError(ProviderError):
    """The provider does not take the key."""

    status = 401
    code = "provider_key_refused"


class ProviderBillingError(ProviderError):
    """The account at the provider has no credit or quota."""

    status = 402
    code = "provider_billing"


class ProviderPermissionError(ProviderError):
    """The key is good but may not do this."""

    status = 403
    code = "provider_permission_denied"


class ModelNotFoundError(ProviderError):
    """The provider does not know the model."""

    status = 404
    code = "model_not_found"


class ProviderTooLargeError(ProviderError):
    """The provider does not take so many bytes."""

    status = 413
    code = "provider_request_too_large"


class ContextTooLongError(ProviderError):
    """The conversation has more tokens than the model takes."""

    status = 422
    code = "context_too_long"


class ProviderRejectedError(ProviderError):
    """The provider finds the request wrong."""

    status = 422
    code = "provider_rejected_request"


class RefusedBySafetyError(ProviderError):
    """The provider's filters refuse the request."""

    status = 422
    code = "refused_by_safety"


class ProviderRateLimitedError(ProviderError):
    """The provider asks to wait."""

    status = 429
    code = "provider_rate_limited"


class ProviderMalformedError(ProviderError):
    """The provider's answer makes no sense."""

    status = 502
    code = "provider_malformed_answer"


class ProviderRedirectError(ProviderError):
    """The provider's address points elsewhere; redirects are not followed."""

    status = 502
    code = "provider_redirected"


class ProviderUnavailableError(ProviderError):
    """The provider is down or overloaded."""

    status = 503
    code = "provider_unavailable"


class ProviderUnreachableError(ProviderUnavailableError):
    """There is no connection to the provider."""

    code = "provider_unreachable"


class ProviderTimeoutError(ProviderError):
    """The provider says that it ran out of time."""

    status = 504
    code = "provider_timeout"


class ConnectTimeoutError(ProviderTimeoutError):
    """The provider did not take the connection in time."""

    code = "provider_connect_timeout"


class FirstByteTimeoutError(ProviderTimeoutError):
    """The provider did not begin to answer in time."""

    code = "provider_first_byte_timeout"


class StalledError(ProviderTimeoutError):
    """The provider stopped in the middle of its answer."""

    code = "provider_stalled"

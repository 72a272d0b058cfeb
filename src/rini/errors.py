"""Every error that a client can meet, as one tree. Each class has its HTTP status and a stable code.

A class's docstring says when it is met, what the client is to do, and which further members its problem document has (and those of the
classes below it). docs/errors.md is made from this module.

RiniError
├── BadRequestError               400 bad_request
│   ├── ProviderKeyMissingError   400 provider_key_missing
│   ├── NoEmbeddingsError         400 no_embeddings
│   └── NoThreadsError            400 thread_unsupported_request
├── PreviousResponseNotFoundError 400 previous_response_not_found
├── NotAuthenticatedError         401 not_authenticated
├── SignupClosedError             403 signup_closed
├── TokenNotAllowedError          403 token_not_allowed
├── ModelNotAllowedError          403 model_not_allowed
├── NotFoundError                 404 not_found
├── MethodNotAllowedError         405 method_not_allowed
├── ConfirmationNeededError       409 confirmation_needed
├── AnswerRunningError            409 answer_running
├── SessionBusyError              409 session_busy
├── TurnCancelledError            409 turn_cancelled
├── HeadMovedError                412 head_moved
├── StreamGoneError               410 stream_gone
├── AnswerBrokeOffError           502 answer_broke_off
├── TooManyTokensError            409 too_many_tokens
├── AliasTakenError               409 alias_taken
├── IdempotencyInterruptedError   409 idempotency_interrupted
├── IdempotencyAnswerNotKeptError 409 idempotency_answer_not_kept
├── BodyTooLargeError             413 body_too_large
├── InvalidRequestError           422 invalid_request
│   ├── UnsupportedParameterError 422 unsupported_parameter
│   ├── AddressRefusedError       422 address_refused
│   ├── ImageRefusedError         422 image_refused
│   ├── NoVisionError             422 no_vision
│   ├── EmbeddingInputError       422 embedding_input_refused
│   ├── IdempotencyKeyReusedError 422 idempotency_key_reused
│   ├── ImportRefusedError        422 import_refused
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
└── ProviderError                 502 provider_error: what a provider did; the detail holds its own message
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

# OpenAI's and Anthropic's SDKs repeat what is answered with 409 unless they are told.
_NO_USE_TO_REPEAT = {"x-should-retry": "false"}


class RiniError(Exception):
    """An error with a sentence for the client.

    ``detail`` is that sentence; ``fields`` are further members of the problem document (JSON values). An error of a turn in a session
    gets two of them: what is stored of it.

    Fields: user_message_id, assistant_message_id.
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
    """The request is well formed and yet cannot be done.

    What to do: Do what the detail says.
    """

    status = 400
    code = "bad_request"


class ProviderKeyMissingError(BadRequestError):
    """The user stored no key for the provider.

    What to do: Store one with POST /api-keys/.
    Fields: provider.
    """

    code = "provider_key_missing"


class NoEmbeddingsError(BadRequestError):
    """The provider makes no embeddings.

    What to do: Take one of the providers that the detail names.
    """

    code = "no_embeddings"


class NoThreadsError(BadRequestError):
    """The request goes on with a conversation that Anthropic holds, and another provider is asked.

    What to do: Send the whole conversation without `thread`, as Anthropic's SDK does by itself when it meets this error.
    Fields: provider.
    """

    # Anthropic's word, which its SDK knows.
    code = "thread_unsupported_request"


class PreviousResponseNotFoundError(RiniError):
    """``previous_response_id`` names no response of the user's. OpenAI answers 400 to that, and has this code.

    What to do: Continue a response that was stored (``store``), and look at whose token is sent.
    Fields: parameter.
    """

    status = 400
    code = "previous_response_not_found"


class NotAuthenticatedError(RiniError):
    """There is no token, or it is not valid (any more).

    What to do: Send `Authorization: Bearer …` with a token of POST /users/, of POST /users/me/tokens or of `rini user token`.
    """

    status = 401
    code = "not_authenticated"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"www-authenticate": "Bearer"})


class SignupClosedError(RiniError):
    """The operator makes the users.

    What to do: Ask the operator for a user (`rini user create`).
    """

    status = 403
    code = "signup_closed"


class TokenNotAllowedError(RiniError):
    """An access token may not do this.

    What to do: Send the JWT of POST /users/; when it has expired, the operator makes another (`rini user token`).
    """

    status = 403
    code = "token_not_allowed"


class ModelNotAllowedError(RiniError):
    """The access token may not call this model.

    What to do: Take a model that the detail names, or another token.
    Fields: provider, model.
    """

    status = 403
    code = "model_not_allowed"


class NotFoundError(RiniError):
    """It does not exist, or belongs to another user: the answer is the same.

    What to do: Look at the id, and at whose token is sent.
    """

    status = 404
    code = "not_found"


class MethodNotAllowedError(RiniError):
    """The path exists, the method does not.

    What to do: Take one of the methods in the header Allow.
    """

    status = 405
    code = "method_not_allowed"


class ConfirmationNeededError(RiniError):
    """More would be lost than was named; the fields say how much.

    What to do: Repeat the request as the detail says, if that is what you want.
    Fields: count.
    """

    status = 409
    code = "confirmation_needed"


class AnswerRunningError(RiniError):
    """The message is an answer that is still being written: nothing can come below it yet.

    What to do: Wait until it is done (`GET /messages/{id}` says so), or end it with `POST /messages/{id}/cancel`.
    Fields: message_id.
    """

    status = 409
    code = "answer_running"

    def __init__(self, message_id: int) -> None:
        super().__init__(f"The answer {message_id} is still being written.", message_id=message_id)


class SessionBusyError(RiniError):
    """The session's current branch is being answered, and the request did not want to wait, or waited too long.

    What to do: Send it again when that answer is done, let it wait (`"if_busy": "queue"`), or name a parent: then nothing waits.
    Fields: message_id.
    """

    status = 409
    code = "session_busy"

    def __init__(self, message_id: int | None) -> None:
        super().__init__(
            "The session's current branch is being answered; wait for it, or name a parent message.",
            message_id=message_id,
        )


class TurnCancelledError(RiniError):
    """The answer was cancelled, or interrupted by another question, while the model wrote it. What had come is stored.

    The reason is cancelled or interrupted.

    What to do: Nothing, if that was wanted; else ask again.
    Fields: reason.
    """

    status = 409
    code = "turn_cancelled"


class StreamGoneError(RiniError):
    """The events of the answer are not kept any more, or never were: it cannot be followed from the middle.

    What to do: Follow it from its beginning (without `after`), or read the message.
    """

    status = 410
    code = "stream_gone"


class AnswerBrokeOffError(RiniError):
    """The answer that is followed broke off; what had come of it is stored.

    What to do: Look at `status_reason` of the message, and ask again where it is wanted.
    Fields: reason.
    """

    status = 502
    code = "answer_broke_off"


class HeadMovedError(RiniError):
    """The session's head is not where the client believed it to be: another request moved it meanwhile.

    What to do: Read the session again, and decide anew.
    Fields: head_message_id.
    """

    status = 412
    code = "head_moved"

    def __init__(self, head_message_id: int | None) -> None:
        super().__init__(
            f"The session's head is {'not set' if head_message_id is None else head_message_id} now.",
            headers={"etag": f'"{head_message_id or 0}"'},
            head_message_id=head_message_id,
        )


class TooManyTokensError(RiniError):
    """The user has as many access tokens as one may have.

    What to do: Delete one that is not used any more.
    """

    status = 409
    code = "too_many_tokens"


class AliasTakenError(RiniError):
    """The user has an alias of that name.

    What to do: Take another name, or change the alias with PUT /models/aliases/{alias}.
    """

    status = 409
    code = "alias_taken"


class IdempotencyInterruptedError(RiniError):
    """The first request with this Idempotency-Key broke off in the middle, such as by a crash: nobody knows how far it came.

    What to do: Look at what is stored (in the session, at `GET /usage/…`), and send what is missing with a new key.
    Fields: first_request_id.
    """

    status = 409
    code = "idempotency_interrupted"

    def __init__(self, request_id: str | None) -> None:
        super().__init__(
            "The first request with this Idempotency-Key broke off, and it is not known how far it came; look at what is stored, and use a new key.",
            headers=_NO_USE_TO_REPEAT,
            first_request_id=request_id,
        )


class IdempotencyAnswerNotKeptError(RiniError):
    """The request with this Idempotency-Key was done, and its answer is not there any more: it was too long to keep, or holds a secret.

    What to do: Read what was stored; it was not done twice.
    Fields: first_request_id, first_status.
    """

    status = 409
    code = "idempotency_answer_not_kept"

    def __init__(self, request_id: str | None, status: int) -> None:
        super().__init__(
            f"The request with this Idempotency-Key was answered with status {status}, and that answer was not kept; it is not done again.",
            headers=_NO_USE_TO_REPEAT,
            first_request_id=request_id,
            first_status=status,
        )


class BodyTooLargeError(RiniError):
    """The body has more bytes than the server takes.

    What to do: Send less, or have the operator raise RINI_MAX_BODY_BYTES; for an import RINI_MAX_IMPORT_BYTES.
    """

    status = 413
    code = "body_too_large"


class InvalidRequestError(RiniError):
    """The input is wrong; the detail says where and what would be right.

    What to do: Correct what the detail names.
    Fields: errors, message_ids.
    """

    status = 422
    code = "invalid_request"


class UnsupportedParameterError(InvalidRequestError):
    """The provider has no such parameter.

    What to do: Leave the parameter out, or take a provider that has it.
    Fields: parameter, provider.
    """

    code = "unsupported_parameter"


class AddressRefusedError(InvalidRequestError):
    """A user's address leads where it must not.

    What to do: Take a public address, or have the operator allow this one (RINI_ALLOWED_PRIVATE_HOSTS).
    Fields: provider.
    """

    code = "address_refused"


class ImageRefusedError(InvalidRequestError):
    """The file is no image that can be read, or one that the provider does not take.

    What to do: Send a PNG, JPEG, GIF or WebP within the limits that the detail names.
    """

    code = "image_refused"


class NoVisionError(InvalidRequestError):
    """The provider or the model reads no images.

    What to do: Take the model that the detail names.
    """

    code = "no_vision"


class EmbeddingInputError(InvalidRequestError):
    """One of the texts cannot be embedded; ``index`` is its place in the list.

    What to do: Leave out or shorten the text at `index`; the others are as good as before.
    Fields: index, estimated_tokens, provider, provider_status, provider_message.
    """

    code = "embedding_input_refused"


class ImportRefusedError(InvalidRequestError):
    """A file of conversations cannot be read to its end; ``where`` says how far it went, ``session_ids`` what was stored before.

    What to do: Correct the file where the detail says, or send what comes after that place; delete the sessions that you do not want.
    Fields: where, session_ids.
    """

    code = "import_refused"


class IdempotencyKeyReusedError(InvalidRequestError):
    """The Idempotency-Key belongs to another request of the last 24 hours.

    What to do: Repeat a request exactly as it was, or use a new key.
    """

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was sent with another request; a new request needs a new key.")


class NoToolsError(InvalidRequestError):
    """A tool is asked for that no connection offers.

    What to do: Make an MCP connection, or enable one, or ask without `tool_choice`.
    """

    code = "no_tools"


class TooManyRequestsError(RiniError):
    """A limit of this server was reached.

    What to do: Wait as many seconds as the header Retry-After says.
    """

    status = 429
    code = "too_many_requests"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail, headers={"retry-after": str(math.ceil(retry_after))})


class InternalError(RiniError):
    """A fault of this server. The log has it, under the same request id.

    What to do: Tell the operator the `request_id`: the log has what happened.
    """


class ShuttingDownError(RiniError):
    """The server finishes what it has and takes nothing new.

    What to do: Repeat the request in a moment.
    """

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The server is shutting down; try again in a moment.", headers={"retry-after": "1"})


class StorageUnavailableError(RiniError):
    """The database does not answer.

    What to do: Repeat the request later; the operator finds more at GET /readyz.
    Fields: ``session_ids``, of an import that had stored some.
    """

    status = 503
    code = "storage_unavailable"
    in_doubt = False
    """Whether it may have been stored all the same: the connection broke at its commit."""


class StorageFullError(StorageUnavailableError):
    """The disk is full.

    What to do: The operator makes room.
    """

    status = 507
    code = "storage_full"


class FilesUnavailableError(RiniError):
    """The place where files are kept does not answer, or is full.

    What to do: Repeat the request later; the operator looks at RINI_FILES_URL.
    Fields: ``session_ids``, of an import that had stored some.
    """

    status = 503
    code = "files_unavailable"


class KeyUnreadableError(RiniError):
    """A stored key does not open under any master key that the server has.

    What to do: Store the key anew, or have the operator add the former master key to RINI_API_MASTER_KEYS_OLD.
    """

    code = "provider_key_unreadable"


class ToolServerError(RiniError):
    """An MCP server does not answer, or not as the protocol says.

    What to do: Look at the connection with POST /mcp-connections/{id}/test.
    """

    status = 502
    code = "tool_server_failed"


class LocalModelError(RiniError):
    """The model in the box is not installed or does not start.

    What to do: The operator installs or repairs it (docs/local-model.md); or take another provider.
    """

    status = 503
    code = "local_model_unavailable"


class ProviderError(RiniError):
    """What a provider did; ``provider_status``, ``provider_code`` and ``provider_message`` are its own, as far as it said.

    ``retry_after`` are the seconds that it asks to wait, ``should_retry`` its word on whether to repeat the call at all.
    ``failure`` is all that it said (a rini.canon.Failure), ``answer`` the status, headers and body in which it did; both without the key.

    What to do: Do what the detail says.
    Fields: provider, model, provider_status, provider_code, provider_message.
    """

    status = 502
    code = "provider_error"
    retry_after: float | None = None
    should_retry: bool | None = None
    failure: Any = None
    answer: tuple[int, Mapping[str, str], bytes] | None = None


class ProviderKeyRefusedError(ProviderError):
    """The provider does not take the key.

    What to do: Store a key that the provider takes.
    """

    status = 401
    code = "provider_key_refused"


class ProviderBillingError(ProviderError):
    """The account at the provider has no credit or quota.

    What to do: Pay, or take another key (`key_id`) or provider.
    """

    status = 402
    code = "provider_billing"


class ProviderPermissionError(ProviderError):
    """The key is good but may not do this.

    What to do: Take a key or a model that may.
    """

    status = 403
    code = "provider_permission_denied"


class ModelNotFoundError(ProviderError):
    """The provider does not know the model.

    What to do: Take a name from the provider's own list of models.
    """

    status = 404
    code = "model_not_found"


class ProviderTooLargeError(ProviderError):
    """The provider does not take so many bytes.

    What to do: Send less.
    """

    status = 413
    code = "provider_request_too_large"


class ContextTooLongError(ProviderError):
    """The conversation has more tokens than the model takes; of a session's, the question alone has, or its policy is to refuse.

    What to do: Shorten the conversation, take a model with a larger context, or let the session's policy be `compact` or `truncate`.
    """

    status = 422
    code = "context_too_long"


class ProviderRejectedError(ProviderError):
    """The provider finds the request wrong.

    What to do: Correct what the provider's message names.
    """

    status = 422
    code = "provider_rejected_request"


class RefusedBySafetyError(ProviderError):
    """The provider's filters refuse the request.

    What to do: Ask in another way.
    """

    status = 422
    code = "refused_by_safety"


class ProviderRateLimitedError(ProviderError):
    """The provider asks to wait.

    What to do: Wait as many seconds as the header Retry-After says.
    """

    status = 429
    code = "provider_rate_limited"


class ProviderMalformedError(ProviderError):
    """The provider's answer makes no sense.

    What to do: Repeat the request; if it stays, look at the provider, or at the key's base_url.
    """

    status = 502
    code = "provider_malformed_answer"


class ProviderRedirectError(ProviderError):
    """The provider's address points elsewhere; redirects are not followed.

    What to do: Set the key's base_url, or the operator's setting, to the final address.
    """

    status = 502
    code = "provider_redirected"


class ProviderUnavailableError(ProviderError):
    """The provider is down or overloaded.

    What to do: Repeat the request later, after Retry-After where there is one, or take another provider.
    """

    status = 503
    code = "provider_unavailable"


class ProviderUnreachableError(ProviderUnavailableError):
    """There is no connection to the provider.

    What to do: Look at the key's base_url; else repeat the request later.
    """

    code = "provider_unreachable"


class ProviderTimeoutError(ProviderError):
    """The provider says that it ran out of time.

    What to do: Repeat the request, or ask for less.
    """

    status = 504
    code = "provider_timeout"


class ConnectTimeoutError(ProviderTimeoutError):
    """The provider did not take the connection in time.

    What to do: Look at the key's base_url; else repeat the request later.
    """

    code = "provider_connect_timeout"


class FirstByteTimeoutError(ProviderTimeoutError):
    """The provider did not begin to answer in time.

    What to do: Stream the answer, ask for less, or have the operator raise RINI_FIRST_BYTE_TIMEOUT. It may have cost.
    """

    code = "provider_first_byte_timeout"


class StalledError(ProviderTimeoutError):
    """The provider stopped in the middle of its answer.

    What to do: Repeat the request; with a session what had come is stored.
    """

    code = "provider_stalled"

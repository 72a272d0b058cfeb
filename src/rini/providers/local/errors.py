"""Why the model in the box cannot be used."""

from typing import ClassVar


class LocalModelUnavailableError(Exception):
    """The model in the box cannot be used. The text is one sentence for the operator.

    LocalModelUnavailableError      local_model_unavailable   something is not installed, or the server is stopping
    └── LocalModelStartError        local_model_start_failed  it is installed, and does not start
    """

    code: ClassVar[str] = "local_model_unavailable"


class LocalModelStartError(LocalModelUnavailableError):
    """The child process ended or said nothing in time.

    ``log_tail`` holds the last lines of its log (paths of this machine among them), ``retry_after`` the seconds in which no new start is tried.
    """

    code: ClassVar[str] = "local_model_start_failed"

    def __init__(self, sentence: str, *, log_tail: str, retry_after: float) -> None:
        super().__init__(sentence)
        self.log_tail = log_tail
        self.retry_after = retry_after

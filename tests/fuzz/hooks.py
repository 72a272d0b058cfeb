"""What schemathesis does before each request: it finds what is there, and leaves the machine never.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS), in the process that ``tests.fuzz.run`` starts. What is there is in RINI_FUZZ.
"""

import base64
import itertools
import json
import os
import urllib.request
from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.transport.serialization import Binary

_FUZZ: dict[str, Any] = json.loads(os.environ["RINI_FUZZ"])
_IDS: dict[str, Any] = _FUZZ["ids"]
_PICTURE = Binary(base64.b64decode(_FUZZ["picture"]))
_MODELS: dict[str, str] = _FUZZ["models"]
_QUERY = {"session_id": "session_id", "key_id": "key_id", "before": "record_id"}
_count = itertools.count()
_aimed: set[str] = set()


@schemathesis.auth(refresh_interval=None, retry_on=[])
class Token:
    """The user's token; for the operation that deletes a user, that of one who is made for it."""

    def get(self, case: Any, _context: Any) -> str:
        """Return a token."""
        return _new_token() if (case.method, case.path) == ("DELETE", "/users/me") else _FUZZ["token"]

    def set(self, case: Any, data: str, _context: Any) -> None:
        """Send it."""
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Send no address that is not this machine's, and half of the good cases to what exists."""
    number = next(_count)
    _stay_here(case.body)
    if case.method == "DELETE":
        _spare(case.path_parameters)
    elif case.meta is not None and case.meta.generation.mode.is_positive and number % 2:
        _aim(case, number // 2)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Let pass what this server is not at fault for.

    That is the scripted provider, which fails at times, and the model that is switched off. A body with a file in it that was changed
    here is taken for a bad one, whatever it holds. And what a provider of the same format is sent as it came is the provider's to refuse.
    """
    if isinstance(failure, AcceptedNegativeData):
        return case.id not in _aimed and not _is_dialect(case)
    if _is_dialect(case) and response.content in (b"{", b'{"error": {"message": "no"}}'):
        return False  # the scripted provider's own words
    if response.status_code < 500:
        return True
    code = response.headers.get("x-rini-code", [json.loads(response.content).get("code", "")])[0]
    return not (code.startswith("provider_") or code in ("local_model_unavailable", "tool_server_failed"))


def _stay_here(body: Any) -> None:
    if not isinstance(body, dict):
        return
    for name, address in (("base_url", _FUZZ["upstream"]), ("url", _FUZZ["mcp"])):
        if isinstance(body.get(name), str) and body[name].strip().lower().startswith("http"):
            body[name] = address


def _spare(path_parameters: Any) -> None:
    for name, value in (path_parameters or {}).items():
        if name in _IDS and str(value) == str(_IDS[name]):
            path_parameters[name] = "nothing" if name == "session_id" else 2**60


def _aim(case: Any, number: int) -> None:
    for name in case.query or {}:
        if name in _QUERY:
            case.query[name] = _IDS[_QUERY[name]]
    for name in case.path_parameters or {}:
        if name in _IDS:
            case.path_parameters[name] = _IDS[name]
    if not isinstance(case.body, dict):
        return
    provider, model = list(_MODELS.items())[number % len(_MODELS)]
    if _is_dialect(case):
        for named in (case.body, case.path_parameters or {}):
            if "model" in named:
                named["model"] = f"{provider}/{model}"
        return
    if not case.path.startswith("/llm/"):
        return
    case.body |= {"provider": provider, "model": model}
    for name in ("llm_params", "api_key_id", "parent_message_id", "session_id", "dimensions"):
        case.body.pop(name, None)
    if case.path != "/llm/embeddings/" and number % 3:
        if "messages" not in case.body:
            case.body["session_id"] = _IDS["session_id"]
        if number % 3 == 2:
            case.body["llm_params"] = {"max_tokens": 5, "tool_choice": "auto"}
    if "image_file" in case.body:
        case.body["image_file"] = _PICTURE
        _aimed.add(case.id)


def _is_dialect(case: Any) -> bool:
    return case.path.startswith("/v1")


def _new_token() -> str:
    request = urllib.request.Request(f"{_FUZZ['server']}/users/", method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["access_token"]

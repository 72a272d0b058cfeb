"""Anthropic's list of models ("List Models" of the Messages API, ModelInfo as in the SDK of November 2026)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from rini.canon import Capabilities, ModelInfo, extras_of, with_extras
from rini.wire.codec import MalformedError
from rini.wire.model_lists.page import Excerpt, ModelPage
from rini.wire.model_lists.reading import flag, inside, model_id, read_list, read_model, text, tokens

NAME = "anthropic_models"

_encode = msgspec.json.Encoder().encode

_TEXTS = ("lifecycle", "line", "deprecated_at", "retires_at")
_MOST_CAPABILITY_BYTES = 8192
_SUPPORTED = {"supported": True}
_UNSUPPORTED = {"supported": False}
_EFFORTS = ("low", "medium", "high")


class AnthropicModels:
    """The codec. See ``rini.wire.model_lists.page.ModelListCodec``."""

    def list_path(self, following: str | None = None) -> str:
        """Return the path and query of a page of up to 1000 models, the most that there are."""
        return "/v1/models?limit=1000" + (f"&after_id={quote(following, safe='')}" if following else "")

    def decode_list(self, body: bytes, provider: str) -> ModelPage:
        """Return the page in ``body``. Raises MalformedError."""
        listed = read_list(body, "data")
        found = (_decode(fields, provider) for fields in listed.models)
        following = listed.text("last_id") if listed.says("has_more") else None
        return ModelPage(tuple(model for model in found if model is not None), following)

    def model_path(self, model: str) -> str:
        """Return the path of one model."""
        return f"/v1/models/{quote(model, safe=':')}"

    def decode_model(self, body: bytes, provider: str) -> ModelInfo:
        """Return the model in ``body``. Raises MalformedError."""
        found = _decode(read_model(body), provider)
        if found is None:
            raise MalformedError("it is a model without an id.")
        return found

    def encode_list(self, page: Excerpt, *, backwards: bool = False) -> bytes:
        """Return the body of a page; ``backwards``: the client asked with ``before_id``, and ``has_more`` looks that way."""
        shown: Sequence[ModelInfo] = page.models
        return _encode(
            {
                "data": [_shown(model) for model in shown],
                "has_more": page.more_before if backwards else page.more_behind,
                "first_id": shown[0].id if shown else None,
                "last_id": shown[-1].id if shown else None,
            }
        )

    def encode_model(self, model: ModelInfo) -> bytes:
        """Return the body of one model."""
        return _encode(_shown(model))

    def lifecycle(self, model: ModelInfo) -> str:
        """Return ``active``, ``deprecated`` or ``retired``; what other providers list is active."""
        found: str = extras_of(model.extras, NAME).get("lifecycle", "active")
        return found


ANTHROPIC_MODELS = AnthropicModels()


def _decode(fields: Mapping[str, Any], provider: str) -> ModelInfo | None:
    name = model_id(fields.get("id"))
    if name is None:
        return None
    said = inside(fields.get("capabilities"))
    extras: dict[str, Any] = {each: value for each in _TEXTS if (value := text(fields.get(each))) is not None}
    if said and len(_encode(said)) <= _MOST_CAPABILITY_BYTES:
        extras["capabilities"] = said
    return ModelInfo(
        id=name,
        provider=provider,
        display_name=text(fields.get("display_name")),
        created=_seconds(fields.get("created_at")),
        context_tokens=tokens(fields.get("max_input_tokens")),
        max_output_tokens=tokens(fields.get("max_tokens")),
        capabilities=Capabilities(
            vision=_supported(said, "image_input"),
            pdf=_supported(said, "pdf_input"),
            thinking=_supported(said, "thinking"),
            structured_output=_supported(said, "structured_outputs"),
        ),
        extras=with_extras(NAME, extras),
    )


def _supported(capabilities: Mapping[str, Any], name: str) -> bool | None:
    return flag(inside(capabilities.get(name)).get("supported"))


def _seconds(value: object) -> int | None:
    """Return an RFC 3339 time in seconds; the epoch stands for one that is not known."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return int(moment.timestamp()) or None if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _shown(model: ModelInfo) -> dict[str, Any]:
    extras = extras_of(model.extras, NAME)
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name or model.id,
        "created_at": datetime.fromtimestamp(model.created or 0, UTC).isoformat().replace("+00:00", "Z"),
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_output_tokens,
        "capabilities": extras.get("capabilities") or _capabilities(model.capabilities),
        "lifecycle": extras.get("lifecycle", "active"),
        "line": extras.get("line"),
        "deprecated_at": extras.get("deprecated_at"),
        "retires_at": extras.get("retires_at"),
    }


def _capabilities(known: Capabilities) -> dict[str, Any] | None:
    """Return what another provider's model can do in Anthropic's terms; ``None`` unless all that canon knows of them is known.

    What only Anthropic serves (batches, citations, its own tools) no other model has.
    """
    if None in (known.vision, known.pdf, known.thinking, known.structured_output):
        return None
    thinks = {"supported": known.thinking}
    return {
        "batch": _UNSUPPORTED,
        "citations": _UNSUPPORTED,
        "code_execution": _UNSUPPORTED,
        "context_management": _UNSUPPORTED,
        "effort": {**thinks, **dict.fromkeys(_EFFORTS, thinks), "max": _UNSUPPORTED},
        "image_input": {"supported": known.vision},
        "pdf_input": {"supported": known.pdf},
        "server_tools": {**_UNSUPPORTED, "code_execution": _UNSUPPORTED, "web_search": _UNSUPPORTED},
        "structured_outputs": {"supported": known.structured_output},
        "thinking": {
            **thinks,
            "types": {"enabled": thinks, "adaptive": thinks, "between_tools": _UNSUPPORTED, "disabled": _SUPPORTED},
        },
    }

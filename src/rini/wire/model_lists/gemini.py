"""Gemini's list of models (models.list of the Gemini API v1beta, November 2026)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from rini.canon import Capabilities, ModelInfo, extras_of, with_extras
from rini.wire.codec import MalformedError
from rini.wire.model_lists.page import Excerpt, ModelPage
from rini.wire.model_lists.reading import flag, model_id, read_list, read_model, text, texts, tokens

NAME = "gemini_models"

_encode = msgspec.json.Encoder().encode

_PREFIX = "models/"
_TEXTS = ("version", "description", "baseModelId")
_NUMBERS = ("temperature", "maxTemperature", "topP", "topK")
_METHODS = "supportedGenerationMethods"
_SERVED = ("generateContent", "countTokens", "embedContent")
"""The methods that this server has too."""

_EMBEDS = ["embedContent"]
_WRITES = ["generateContent", "countTokens"]


class GeminiModels:
    """The codec. See ``rini.wire.model_lists.page.ModelListCodec``."""

    def list_path(self, following: str | None = None) -> str:
        """Return the path and query of a page of up to 1000 models, the most that there are."""
        return "/v1beta/models?pageSize=1000" + (f"&pageToken={quote(following, safe='')}" if following else "")

    def decode_list(self, body: bytes, provider: str) -> ModelPage:
        """Return the page in ``body``; ids are without their ``models/``. Raises MalformedError."""
        # Of no models there is no list either.
        listed = read_list(b'{"models":[]}' if body.strip() == b"{}" else body, "models")
        found = (_decode(fields, provider) for fields in listed.models)
        return ModelPage(tuple(model for model in found if model is not None), listed.text("nextPageToken") or None)

    def model_path(self, model: str) -> str:
        """Return the path of one model."""
        return f"/v1beta/models/{quote(model, safe='')}"

    def decode_model(self, body: bytes, provider: str) -> ModelInfo:
        """Return the model in ``body``. Raises MalformedError."""
        found = _decode(read_model(body), provider)
        if found is None:
            raise MalformedError("it is a model without a name.")
        return found

    def encode_list(self, page: Excerpt) -> bytes:
        """Return the body of a page; its token is the last model's id."""
        shown: dict[str, Any] = {"models": [_shown(model) for model in page.models]}
        if page.more_behind and page.models:
            shown["nextPageToken"] = page.models[-1].id
        return _encode(shown)

    def encode_model(self, model: ModelInfo) -> bytes:
        """Return the body of one model."""
        return _encode(_shown(model))


GEMINI_MODELS = GeminiModels()


def _decode(fields: Mapping[str, Any], provider: str) -> ModelInfo | None:
    given = fields.get("name")
    name = model_id(given.removeprefix(_PREFIX) if isinstance(given, str) else None)
    if name is None:
        return None
    extras: dict[str, Any] = {each: value for each in _TEXTS if (value := text(fields.get(each))) is not None}
    for each in _NUMBERS:
        value = fields.get(each)
        if isinstance(value, int | float) and not isinstance(value, bool):
            extras[each] = value
    methods = texts(fields.get(_METHODS))
    if methods is not None:
        extras[_METHODS] = [method for method in _SERVED if method in methods]
    return ModelInfo(
        id=name,
        provider=provider,
        display_name=text(fields.get("displayName")),
        context_tokens=tokens(fields.get("inputTokenLimit")),
        max_output_tokens=tokens(fields.get("outputTokenLimit")),
        capabilities=Capabilities(
            thinking=flag(fields.get("thinking")),
            embeddings=None if methods is None else "embedContent" in methods,
        ),
        extras=with_extras(NAME, extras),
    )


def _shown(model: ModelInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": _PREFIX + model.id,
        "version": "",
        "displayName": model.display_name or model.id,
        "inputTokenLimit": model.context_tokens,
        "outputTokenLimit": model.max_output_tokens,
        _METHODS: _EMBEDS if model.capabilities.embeddings else _WRITES,
        "thinking": model.capabilities.thinking,
        **extras_of(model.extras, NAME),
    }
    return {name: value for name, value in shown.items() if value is not None}

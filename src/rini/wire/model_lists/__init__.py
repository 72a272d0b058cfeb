"""Lists of models, in the form of each dialect: read from providers, written for clients."""

from rini.wire.model_lists.anthropic import ANTHROPIC_MODELS, AnthropicModels
from rini.wire.model_lists.gemini import GEMINI_MODELS, GeminiModels
from rini.wire.model_lists.openai import OPENAI_MODELS, OpenAIModels
from rini.wire.model_lists.page import ModelListCodec, ModelPage

__all__ = [
    "ANTHROPIC_MODELS",
    "GEMINI_MODELS",
    "OPENAI_MODELS",
    "AnthropicModels",
    "GeminiModels",
    "ModelListCodec",
    "ModelPage",
    "OpenAIModels",
]

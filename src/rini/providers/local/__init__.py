"""The models in the box: llama.cpp and SmolLM2-135M in a child process that serves OpenAI's wire format on loopback, and an embedder."""

from rini.providers.local.embedder import EMBEDDING_DIMENSIONS, EMBEDDING_MODEL_ID, LocalEmbedder, TextTooLongError
from rini.providers.local.errors import LocalModelStartError, LocalModelUnavailableError
from rini.providers.local.installation import BOXED_MODEL_ID
from rini.providers.local.parameters import PARAMETERS, TOOL_PARAMETERS
from rini.providers.local.supervisor import CONTEXT_TOKENS, Endpoint, LocalModel

__all__ = [
    "BOXED_MODEL_ID",
    "CONTEXT_TOKENS",
    "EMBEDDING_DIMENSIONS",
    "EMBEDDING_MODEL_ID",
    "PARAMETERS",
    "TOOL_PARAMETERS",
    "Endpoint",
    "LocalEmbedder",
    "LocalModel",
    "LocalModelStartError",
    "LocalModelUnavailableError",
    "TextTooLongError",
]

"""JSON schemas that go to a provider which takes a part of JSON Schema only.

``fitted`` rewrites a schema to the nearest one within a provider's subset (``fits``: it is that already), ``object_root`` one whose root alone is too much,
and ``fits_openai_strict`` tells whether OpenAI enforces a schema as it is.
"""

from rini.wire.json_schema.fit import fits, fitted
from rini.wire.json_schema.openai_strict import fits_openai_strict
from rini.wire.json_schema.root import is_plain_object, object_root
from rini.wire.json_schema.subset import ANTHROPIC_STRICT, GEMINI, GEMINI_OPENAPI, Subset

__all__ = [
    "ANTHROPIC_STRICT",
    "GEMINI",
    "GEMINI_OPENAPI",
    "Subset",
    "fits",
    "fits_openai_strict",
    "fitted",
    "is_plain_object",
    "object_root",
]

"""What each provider takes of JSON Schema, as data.

- Anthropic: "Structured outputs, JSON Schema limitations" (platform.claude.com/docs, 2026), and what its SDK 2.12 rewrites: objects
  are closed and their properties named, no recursion, no limits of numbers and lengths, minItems 0 or 1, ten formats.
- Gemini: the field ``responseJsonSchema`` of GenerationConfig (Gemini API reference, 2026): a list of keywords; enums of strings
  and numbers; cycles only through properties that are not required; nothing beside ``$ref``.
- Gemini up to 2.0 reads ``responseSchema`` and ``parameters`` alone: Schema, a part of OpenAPI 3.0 without references.
"""

from typing import Literal

import msgspec

JsonType = Literal["null", "boolean", "integer", "number", "string", "array", "object"]


class Subset(msgspec.Struct, frozen=True):
    """What a provider takes. ``keywords`` are limits that are kept; ``formats`` the values that ``format`` may have.

    ``closed``: objects list all of their properties. ``any_value``: a schema may leave the type open. ``references``: whether
    ``$ref`` is taken, and whether it may lead back to itself. ``least_items``: the highest minItems; ``None`` for any.
    ``enum_types``: the types of values that an enum may list.
    """

    wire: str
    keywords: frozenset[str]
    formats: frozenset[str]
    enum_types: frozenset[JsonType]
    closed: bool = False
    any_value: bool = True
    references: Literal["none", "acyclic", "optional"] = "optional"
    least_items: int | None = None
    type_lists: bool = True


_TIMES = frozenset({"date-time", "time", "date"})

ANTHROPIC_STRICT = Subset(
    wire="anthropic",
    keywords=frozenset({"const", "minItems"}),
    formats=_TIMES | {"duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"},
    enum_types=frozenset({"null", "boolean", "integer", "number", "string"}),
    closed=True,
    any_value=False,
    references="acyclic",
    least_items=1,
)

GEMINI = Subset(
    wire="gemini",
    keywords=frozenset({"minimum", "maximum", "minItems", "maxItems", "prefixItems", "additionalProperties"}),
    formats=_TIMES,
    enum_types=frozenset({"string", "integer", "number"}),
)

GEMINI_OPENAPI = Subset(
    wire="gemini",
    keywords=frozenset(
        {
            "minimum",
            "maximum",
            "minItems",
            "maxItems",
            "minLength",
            "maxLength",
            "pattern",
            "minProperties",
            "maxProperties",
        }
    ),
    formats=frozenset({"date-time"}),
    enum_types=frozenset({"string"}),
    references="none",
    type_lists=False,
)

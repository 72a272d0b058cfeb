"""Tokens of one call."""

import msgspec

from rini.canon.extras import Extras


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens, by class. ``None``: the provider did not say.

    ``input_tokens`` counts everything that was read, cache reads and writes among it (OpenAI's and Gemini's rule;
    Anthropic's own input_tokens excludes both, so its codec adds and subtracts). ``output_tokens`` counts
    everything that was written, reasoning among it (Gemini's candidatesTokenCount excludes thoughts, so its codec
    adds and subtracts). All other classes are shares of those two. What else a provider reports is in ``extras``.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    cache_audio_read_tokens: int | None = None
    extras: Extras | None = None

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

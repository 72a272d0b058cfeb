"""Which call parameters the model in the box honours.

Each name was tried against xllamacpp 2026.10 and changed the answer. llama.cpp's server ignores every name that it does not know (``user``,
``metadata``, ``repetition_penalty``, ``min_tokens`` ...), so what stands in neither set must be refused before it gets there. Second names
for one thing (``n_predict`` for ``max_tokens``, ``n_cmpl`` for ``n``, ``n_probs`` for ``top_logprobs``) are left out: limits look at one.
"""

PARAMETERS: frozenset[str] = frozenset(
    {
        # how much, and where it ends
        "max_tokens", "max_completion_tokens", "stop", "ignore_eos", "t_max_predict_ms", "n",
        # sampling
        "temperature", "dynatemp_range", "dynatemp_exponent", "top_k", "top_p", "min_p", "typical_p", "top_n_sigma",
        "xtc_probability", "xtc_threshold", "mirostat", "mirostat_tau", "mirostat_eta", "samplers", "seed", "logit_bias",
        # repetition
        "presence_penalty", "frequency_penalty", "repeat_penalty", "repeat_last_n",
        "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers",
        # form
        "response_format", "json_schema", "grammar",
        # what comes back
        "logprobs", "top_logprobs",
        "cache_prompt",
    }
)  # fmt: skip
"""Honoured for every model. ``n`` goes up to the number of parallel slots; a larger one is answered with 400."""

TOOL_PARAMETERS: frozenset[str] = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
"""Honoured only where ``Endpoint.tools`` is true, silently ignored elsewhere: it depends on the model's chat template."""

"""What the recorded exchanges cannot hold through the whole server, each with its reason. A path is the begin of a recording's."""

# -- in the same format on both sides

CHANGED = {
    "openai/responses/lingua--multimodalrequest-responses-ae4f07-04": (
        "made by hand, with events of another kind: so it never ends, and an error event follows on its bytes"
    ),
    "openai/chat_completions/pydantic-ai--test_model_name_suggestions-test_model_name_suggestion-openai-chat-f529f5": (
        "its model is a -pro one, which OpenAI serves by responses alone: translated"
    ),
    "google/streamGenerateContent/vertexai-sdk-test-data--vertexai-streaming-failure-empty-content-27e58d": (
        "the stream ends without a finish reason, so an error event follows on its bytes"
    ),
}
"""Recordings whose bytes change on the way."""

# -- answers in another dialect

WRAPPED = "the recorder wrote the body as {type, content}: no answer of Gemini's"
CUT_OFF = "a call's arguments are cut off by the token limit, so that they are no JSON"
GRAMMAR = "a call of a tool that takes plain text, which no other format has; such a tool cannot be asked for there"
MADE_BY_HAND = "made by hand: its events are of another kind"
LOST = {
    ("openai_chat", "anthropic", "gemini"): {
        "openai/chat_completions/dd-trace-py--v1-chat_completion_custom_tool_call-253006": GRAMMAR,
        "openai/chat_completions/rig--openai-chat_tool_truncation_matrix-streaming_gpt4o_low_agent-07d0e5": CUT_OFF,
    },
    ("openai_responses", "anthropic", "gemini"): {
        "openai/responses/lingua--responsesadditionaltoolsmultipletoolsparam-responses-03807c-03": GRAMMAR,
        "openai/responses/lingua--responsesadditionaltoolsmultipletoolsparam-responses-03807c-04": GRAMMAR,
        "openai/responses/rig--openai-streaming_grammar-incomplete_mid_tool_call-8fbd64": CUT_OFF,
    },
    ("openai_responses", "openai_chat", "anthropic", "gemini"): {
        "openai/responses/genai--testclient-scoreboard-gpt-5.6-sol_thinking-genstream-maxtokens-7bb1d3": (
            "the API wrote its summary twice, and the deltas hold both"
        ),
        "openai/responses/lingua--multimodalrequest-responses-ae4f07-04": MADE_BY_HAND,
        "openai/responses/pydantic-ai--test_openai_responses-test_openai_responses_image_generation_jpeg-9e7b6b": (
            "a picture that OpenAI's own tool made, which no other format can ask for"
        ),
    },
    ("gemini", "openai_chat", "openai_responses", "anthropic"): {
        "google/generateContent/pydantic-ai--test_google-test_google_image_or_text_output.yaml-d0345833e77e7d": WRAPPED,
        "google/generateContent/pydantic-ai--test_google-test_google_model_safety_settings.yaml-dd9e68fe891513": WRAPPED,
    },
    ("gemini", "openai_chat"): {
        "google/streamGenerateContent/vertexai-sdk-test-data--vertexai-streaming-failure-empty-content-27e58d": (
            "the stream ends without a finish reason, so there is an error and no choice"
        ),
    },
}
"""The format of the recordings and the dialects in which an answer says less, to the recordings and their reasons."""

# -- requests to a provider of another format

NO_EQUIVALENT = {
    r"tools\[N\]": "a tool that a provider runs itself, or one with a grammar",
    r"messages\[N\]\.parts\[N\](\.content\[N\])?": "what such a tool did, or a medium that the other cannot read",
    r"messages\[N\]\.parts\[N\](\.content\[N\])?\.media(\.file_id|\.url|\.mime_type)?": (
        "a file that lies with its provider, an address or a type that the other does not take"
    ),
    r"messages\[N\]\.parts\[N\]\.name": "a result of a call that is not there, which the API refused as well",
    r"messages(\[N\])?": "Anthropic and Gemini begin with the user's message",
    r"n": "several answers at once: Anthropic and responses have none",
    r"logprobs": "Anthropic does not tell probabilities",
    r"logit_bias": "OpenAI's alone",
    r"stop": "responses have no stop strings",
    r"max_tokens": "responses take 16 at least, and 0 only fills Anthropic's cache",
    r"top_k": "OpenAI has none",
    r"parallel_tool_calls": "Gemini always may call several tools",
    r"response_format": "JSON without a schema: Anthropic has none",
    r"response_format\.schema.*|tools\[N\]\.parameters.*": "a schema that the other's subset cannot say",
    r"modalities|audio|generationConfig\.(responseModalities|speechConfig)": "the answer is to be sound or pictures",
    r"web_search_options|container|mcp_servers|prompt|cachedContent": "what lies or runs with one provider",
}
"""What a request is refused for with 422, by the field that the error names (N stands for a position)."""

UNREADABLE = {
    "anthropic/messages/dd-trace-py--anthropic_completion_error-17e51c": "a message is a string; the API answered 400",
    "google/generateContent/pydantic-ai--test_google-test_google_image_or_text_output.yaml-d0345833": "wrapped by its recorder",
    "google/generateContent/pydantic-ai--test_google-test_google_model_safety_settings.yaml-dd9e68fe": "wrapped by its recorder",
}

LEFT_OUT = {
    # thoughts, and what proves them: another model's
    "signature": ".parts[",
    "thoughtSignature": ".signature",
    "thought_signature": ".signature",
    "thinking": ".parts[",
    "thought": ".parts[",
    "encrypted_content": ".parts[",
    "summary": "",  # "auto" is what asking for the thoughts means; the others are seen among the thoughts
    "display": "",
    "context": "reasoning.context",
    "include": "",
    # how much is thought: in words where the other has words
    "budget_tokens": "",
    "thinkingBudget": "",
    "thinking_budget": "",
    # marks for one provider's cache, accounting and storage
    "cache_control": "cache_control",
    "prompt_cache_key": "prompt_cache_key",
    "prompt_cache_options": "prompt_cache_options",
    "prompt_cache_retention": "prompt_cache_retention",
    "context_management": "context_management",
    "service_tier": "service_tier",
    "safety_identifier": "safety_identifier",
    "metadata": ("metadata", "user"),
    "user": "user",
    "truncation": "truncation",
    "task_budget": "task_budget",
    "prediction": "prediction",
    "allowed_callers": "allowed_callers",
    # filters of one provider
    "safetySettings": "safetySettings",
    "modelArmorConfig": "modelArmorConfig",
    # sampling that the other has not, or not together with thinking
    "seed": "seed",
    "temperature": "temperature",
    "top_p": "top_p",
    "n": "",
    "candidateCount": "",
    # how media are looked at, and what they are called
    "mediaResolution": "mediaResolution",
    "detail": "detail",
    "title": ("name", "title"),
    "filename": "name",
    "citations": "citations",
    # text that stands in base64 here and plainly there
    "data": "",
    # names of things, numbers in a list
    "id": "",
    "index": "",
    "phase": "",
    "json_schema": "response_format",
    "name": "name",
    # what a schema says beyond the other's subset
    "$schema": "",
    "default": "",
    "minLength": ".minLength",
    "maxLength": ".maxLength",
    "minimum": ".minimum",
    "maximum": ".maximum",
    "minItems": ".minItems",
    "maxItems": ".maxItems",
    "response": "",
    "responseJsonSchema": "",
    # "TEXT", which is so anyway; anything else is refused
    "responseModalities": "",
    "modalities": "",
}
"""Fields that may be left out since they do not change the meaning, and how x-rini-dropped names them ("" where nothing is to be said)."""

SO_ANYWAY = {"detail": "auto", "temperature": 1}
"""Fields to the values that ask for what is so where nothing is said."""

LABELS = {("json_schema", "name"), ("format", "name")}
"""Fields, each below another, that only name what they stand in."""

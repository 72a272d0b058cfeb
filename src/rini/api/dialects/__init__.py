"""The wire formats of OpenAI, Anthropic and Google as endpoints: their SDKs talk to any provider through them."""

"""OpenAI's stored responses and conversations: views on sessions and messages."""

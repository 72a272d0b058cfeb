"""Rini: one self-hosted server in front of every LLM that keeps the conversation."""

__version__ = "0.2.0"

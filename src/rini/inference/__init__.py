"""Calling a model: where to, with which key, in which wire format, and what it cost."""

"""Forks: sessions made of another one's messages, with what belongs to these."""

"""Users, their tokens and their encrypted provider keys."""

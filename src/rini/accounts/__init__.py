"""Users, their access tokens and their encrypted provider keys."""

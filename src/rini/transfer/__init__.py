"""Conversations as files: Rini's own export, and the import of that and of what other services export."""

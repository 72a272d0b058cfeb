"""Files that users send: what they are, what a provider can read of them, and where they are kept."""

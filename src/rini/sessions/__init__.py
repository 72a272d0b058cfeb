"""Sessions, and the messages in them: a tree, of which the session's head names the current branch."""

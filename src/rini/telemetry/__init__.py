"""What an operator sees of a running server: logs, metrics, and the middleware that writes both for each request."""

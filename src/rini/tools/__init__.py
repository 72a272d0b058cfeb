"""Tools of MCP servers: users' connections and the operator's, what they offer to a model, and its calls."""

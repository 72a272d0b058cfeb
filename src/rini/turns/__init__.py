"""One conversation turn: load, call, settle. A stateless call is the same with nothing to load."""

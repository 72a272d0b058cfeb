"""The wire formats: each a codec between bytes and canon, in both directions, whole and streamed."""

"""Who is on the other side: addresses, authentication, parameters and errors of each provider."""

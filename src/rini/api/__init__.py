"""The endpoints that call models. They read the raw body and decode it with msgspec: FastAPI's machinery is not on their way."""

"""What a user may store as a provider's key and address."""

from rini.errors import AddressRefusedError, InvalidRequestError
from rini.kit.addresses import AddressError, check_url
from rini.providers.catalog import PROVIDERS


def check_provider_key(
    provider: str, value: str, base_url: str | None, allowed_private_hosts: frozenset[str]
) -> tuple[str, str | None]:
    """Return the key's value and its address as they are stored. Raises InvalidRequestError or AddressRefusedError."""
    found = PROVIDERS.get(provider)
    if found is None or not found.needs_key:
        known = ", ".join(name for name, each in PROVIDERS.items() if each.needs_key)
        raise InvalidRequestError(
            f"model_provider: '{provider}' is not a provider that takes keys; it must be one of {known}."
        )
    value = value.strip()
    # The value becomes a header, in which nothing else can stand.
    if not value.isascii() or not value.isprintable() or (not value and found.address != "key"):
        raise InvalidRequestError("api_key_value: must be printable ASCII characters, at least one.")
    base_url = (base_url or "").strip() or None
    if base_url is None:
        if found.address == "key":
            raise InvalidRequestError(
                f"base_url: the provider '{provider}' needs the address of its server, such as https://llm.example.com/v1."
            )
        return value, None
    try:
        check_url(base_url, allowed_private_hosts)
    except AddressError as error:
        raise AddressRefusedError(f"base_url: {error}") from None
    return value, base_url.rstrip("/")

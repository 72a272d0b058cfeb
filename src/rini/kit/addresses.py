"""URLs that users give, and the networks that these must not reach.

A URL is parsed once, here, and what was parsed is what gets connected to, so that there are no two readings of it. Host
names are not trusted: their addresses are checked after they were resolved, and only a checked address is connected to.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, NamedTuple

from rini.kit.http_errors import TransportError

IPAddress = IPv4Address | IPv6Address

_DEFAULT_PORTS = {"http": 80, "https": 443}
_AFTER_AUTHORITY = re.compile(r"[/?#\\]")
_NOT_IN_TARGET = re.compile(r"[^!-~]|[#\\]")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# IANA's registries of special-purpose addresses, as of 2026, whatever is not plainly of the public internet.
_CLOSED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host, a public address that only leads inside
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_OPEN_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address in disguise, and retired
            "3fff::/20",
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressError(TransportError):
    """A URL is malformed or leads where it must not. The message is one sentence for the URL's author."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "address")


class Origin(NamedTuple):
    """Where a URL leads. ``host`` is ASCII in lower case without brackets; ``ip`` is set where it is an address."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    ip: IPAddress | None

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if isinstance(self.ip, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class Url(NamedTuple):
    """A parsed URL. ``target`` is its path and query, with a leading slash."""

    origin: Origin
    target: str

    def __str__(self) -> str:
        return f"{self.origin.scheme}://{self.origin.authority}{self.target}"


def parse_url(url: str) -> Url:
    """Return the parts of an absolute http or https URL.

    Hosts are read as browsers read them (WHATWG URL standard, section 3.5): ``0x7f.1`` and ``2130706433`` are 127.0.0.1.
    User names, fragments, backslashes, and characters that need percent-encoding are refused. Raises AddressError.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise AddressError("The URL must begin with http:// or https://.")
    found = _AFTER_AUTHORITY.search(rest)
    end = found.start() if found else len(rest)
    target = rest[end:]
    if _NOT_IN_TARGET.search(target):
        raise AddressError("The URL must have no fragment, and spaces, backslashes and the like percent-encoded.")
    return Url(_parse_origin(scheme, rest[:end]), target if target.startswith("/") else "/" + target)


def check_url(url: str, allowed_private_hosts: frozenset[str] = frozenset()) -> Url:
    """Return the parts of a base URL that a user wants stored.

    Addresses and names that are plainly private are refused early; all others only when they are connected to.
    ``allowed_private_hosts`` is as for Guard. Raises AddressError.
    """
    if "?" in url:
        raise AddressError("The URL must have no query.")
    parsed = parse_url(url)
    Guard(allowed_private_hosts).check_origin(parsed.origin)
    return parsed


class Guard:
    """Decides which addresses URLs of users may reach: those of the public internet, and those in ``allowed``.

    An entry is a host name, an IP address, either with ``:port`` (IPv6 in brackets), or a network (``10.0.0.0/8``). A
    name allows whatever it resolves to; an address or network allows every name that resolves to it.
    Raises ValueError for a malformed entry.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._names: set[tuple[str, int | None]] = set()
        self._addresses: set[tuple[IPAddress, int | None]] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in allowed:
            try:
                self._allow(entry.strip())
            except (AddressError, ValueError) as error:
                raise ValueError(f"'{entry}' is no host, host:port, address or network: {error}") from None

    def check_origin(self, origin: Origin) -> None:
        """Refuse what is plainly private without resolving a name. Raises AddressError."""
        if origin.ip is not None:
            self.check_addresses(origin, (origin.ip,))
        elif origin.host.rpartition(".")[2] == "localhost" and not self._allows_name(origin):
            raise _refused(origin)

    def check_addresses(self, origin: Origin, addresses: Sequence[IPAddress]) -> None:
        """Refuse ``origin`` if a single one of the addresses that it resolved to is out of bounds. Raises AddressError."""
        if self._allows_name(origin):
            return
        for address in addresses:
            if not is_public(address) and not self._allows_address(address, origin.port):
                raise _refused(origin)

    def _allows_name(self, origin: Origin) -> bool:
        return (origin.host, None) in self._names or (origin.host, origin.port) in self._names

    def _allows_address(self, address: IPAddress, port: int) -> bool:
        address = _unwrapped(address)
        return (
            (address, None) in self._addresses
            or (address, port) in self._addresses
            or any(address in network for network in self._networks)
        )

    def _allow(self, entry: str) -> None:
        if "/" in entry:
            self._networks.append(ip_network(entry))
            return
        if entry.count(":") > 1 and not entry.startswith("["):
            entry = f"[{entry}]"
        host, port = _split_port(entry)
        name, address = _parse_host(host)
        if address is None:
            self._names.add((name, port))
        else:
            self._addresses.add((_unwrapped(address), port))


def is_public(address: IPAddress) -> bool:
    """Whether ``address`` is one of the public internet, also when it is an IPv4 address inside an IPv6 one."""
    address = _unwrapped(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


def _unwrapped(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that is reached through ``address``, if it is one of those."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _refused(origin: Origin) -> AddressError:
    # The address is not told: it would be a look into the resolver of this network.
    return AddressError(f"{origin.host} is inside a private network, which this server does not reach for its users.")


@lru_cache(maxsize=1024)
def _parse_origin(scheme: str, authority: str) -> Origin:
    match scheme.lower():
        case "http" | "https" as known:
            pass
        case _:
            raise AddressError("The URL must begin with http:// or https://.")
    if "@" in authority:
        raise AddressError("The URL must hold no user name or password.")
    host, port = _split_port(authority)
    name, address = _parse_host(host)
    return Origin(known, name, _DEFAULT_PORTS[known] if port is None else port, address)


def _split_port(authority: str) -> tuple[str, int | None]:
    host, mark, port = authority.rpartition(":")
    if not mark or "]" in port:
        return authority, None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise AddressError("The URL's port must be a number from 1 to 65535.")
    return host, int(port)


def _parse_host(host: str) -> tuple[str, IPAddress | None]:
    """Return the host in its one spelling, and its address where it is one."""
    if host.startswith("[") and host.endswith("]"):
        try:
            address = IPv6Address(host[1:-1])
        except ValueError:
            raise _malformed_host() from None
        if address.scope_id is not None:
            raise AddressError("The URL must hold no IPv6 zone.")
        return str(address), address
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise _malformed_host() from None
    host = host.lower().removesuffix(".")
    if not _NAME.fullmatch(host):
        raise _malformed_host()
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        found = _parse_ipv4(host.split("."))
        return str(found), found
    return host, None


def _parse_ipv4(parts: list[str]) -> IPv4Address:
    if len(parts) > 4:
        raise _malformed_host()
    numbers: list[int] = []
    for part in parts:
        if not _NUMBER.fullmatch(part):
            raise _malformed_host()
        try:
            if part.startswith("0x"):
                numbers.append(int(part[2:] or "0", 16))
            else:
                numbers.append(int(part, 8 if part.startswith("0") else 10))
        except ValueError:  # an 8 or 9 in an octal number
            raise _malformed_host() from None
    *heads, last = numbers
    if any(number > 255 for number in heads) or last >= 256 ** (5 - len(numbers)):
        raise _malformed_host()
    return IPv4Address(last + sum(number << 8 * (3 - at) for at, number in enumerate(heads)))


def _malformed_host() -> AddressError:
    return AddressError("The URL's host is neither a name nor an IP address.")


def parse_addresses(found: Iterable[str]) -> list[IPAddress]:
    """Return what a resolver found, each address once, in its order."""
    return list(dict.fromkeys(map(ip_address, found)))

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rini.kit.addresses import AddressError, Guard, check_url, is_public, parse_url


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target", "authority"),
    [
        ("https://api.openai.com/v1", "https", "api.openai.com", 443, "/v1", "api.openai.com"),
        ("HTTPS://API.OpenAI.com.", "https", "api.openai.com", 443, "/", "api.openai.com"),
        ("http://my_host:8080?a=b", "http", "my_host", 8080, "/?a=b", "my_host:8080"),
        ("https://h:443/a%20b?x=/y", "https", "h", 443, "/a%20b?x=/y", "h"),
        ("http://h:443/", "http", "h", 443, "/", "h:443"),
        ("http://[2001:DB8::1]:81/", "http", "2001:db8::1", 81, "/", "[2001:db8::1]:81"),
        ("http://bücher.example/", "http", "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example"),
    ],
)
def test_parts_of_a_url(url, scheme, host, port, target, authority):
    parsed = parse_url(url)
    assert (*parsed.origin[:3], parsed.target, parsed.origin.authority) == (scheme, host, port, target, authority)
    assert parse_url(str(parsed)) == parsed


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com",
        "//host/",
        "ftp://host/",
        "file:///etc/passwd",
        "http:host",
        "http:///path",
        "http://",
        "http://user@host/",
        "http://user:pass@host/",
        "http://api.openai.com@127.0.0.1/",
        "http://host\\@127.0.0.1/",
        "http://host/#fragment",
        "http://host/a b",
        "http://host/a\r\nx: y",
        "http://host/\x00",
        "http://host/ä",
        "http://ho st/",
        "http://host\n/",
        "http://%31%32%37.0.0.1/",
        "http://host:0/",
        "http://host:65536/",
        "http://host:-1/",
        "http://host:٣/",
        "http://host:/",
        "http://host:1:2/",
        "http://[::1/",
        "http://::1/",
        "http://[127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://a..b/",
        "http://.a/",
        "http://a../",
        "http://-a-.b/",
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 127 + "com/",
        "http://1.2.3.4.5/",
        "http://1.2.3.256/",
        "http://256.1.1.1/",
        "http://1.2.65536/",
        "http://4294967296/",
        "http://0x100000000/",
        "http://08.1.1.1/",
        "http://1_0.0.0.1/",
        "http://a.1/",
        "http://1..1/",
        " http://host/",
    ],
)
def test_malformed_urls(url):
    with pytest.raises(AddressError) as caught:
        parse_url(url)
    assert caught.value.phase == "address"
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "0177.0.0.1",
        "017700000001",
        "0x7f.0.0.0x1",
        "127.0.0.1.",
        "\uff11\uff12\uff17.0.0.1",
        "127。0。0。1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[::1]",
        "[::]",
        "0",
        "0x",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
    ],
)
def test_every_spelling_of_loopback_is_refused(host):
    with pytest.raises(AddressError, match="private network"):
        check_url(f"http://{host}/v1")


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from([str, hex, lambda n: f"0{n:o}"]), min_size=4, max_size=4),
    st.integers(1, 4),
)
def test_numbers_are_read_as_browsers_read_them(number, writers, parts):
    octets = IPv4Address(number).packed
    heads = list(octets[: parts - 1])
    last = int.from_bytes(octets[parts - 1 :])
    host = ".".join(write(value) for write, value in zip(writers, [*heads, last], strict=False))
    assert parse_url(f"http://{host}/").origin.ip == IPv4Address(number)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.1",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_out_of_bounds(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.0.1",
        "172.32.0.1",
        "198.17.0.1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_public_addresses(address):
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_no_private_address_passes_for_public(address):
    if is_public(address):
        assert address.is_global or str(address).startswith(("192.31.", "192.52.", "192.175."))
    for disguise in (
        IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed),
        IPv6Address(bytes.fromhex("0064ff9b" + "00" * 8) + address.packed),
    ):
        assert is_public(disguise) == is_public(address)


@pytest.mark.parametrize(
    ("entry", "allowed", "refused"),
    [
        (
            "10.0.0.0/8",
            ["http://10.1.2.3/", "https://10.255.0.1:81/", "http://[::ffff:10.0.0.1]/"],
            ["http://127.0.0.1/"],
        ),
        ("127.0.0.1", ["http://127.0.0.1:1/", "http://2130706433/"], ["http://127.0.0.2/"]),
        ("127.0.0.1:8080", ["http://127.0.0.1:8080/"], ["http://127.0.0.1/", "http://127.0.0.1:8081/"]),
        ("localhost", ["http://localhost/", "http://LOCALHOST.:9/"], ["http://a.localhost/", "http://127.0.0.1/"]),
        ("localhost:11434", ["http://localhost:11434/"], ["http://localhost/"]),
        ("::1", ["http://[::1]/"], ["http://127.0.0.1/"]),
        ("[::1]:80", ["http://[::1]/"], ["http://[::1]:81/"]),
        ("fd00::/8", ["http://[fd12::1]/"], ["http://[fe80::1]/"]),
        (" 10.0.0.5 ", ["http://10.0.0.5/"], []),
    ],
)
def test_what_the_operator_allows(entry, allowed, refused):
    for url in allowed:
        check_url(url, frozenset({entry}))
    guard = Guard([entry])
    for url in refused:
        with pytest.raises(AddressError):
            guard.check_origin(parse_url(url).origin)


@pytest.mark.parametrize(
    "entry", ["", "a b", "10.0.0.1/8", "10.0.0.0/33", "host:port", "host:0", "http://host", "[::1", "*.example"]
)
def test_malformed_entries(entry):
    with pytest.raises(ValueError, match="is no host"):
        Guard([entry])


def test_a_name_is_judged_by_every_address():
    guard = Guard(["10.0.0.0/8"])
    origin = parse_url("http://llm.example/").origin
    guard.check_addresses(origin, [IPv4Address("8.8.8.8"), IPv4Address("10.0.0.1")])
    with pytest.raises(AddressError) as caught:
        guard.check_addresses(origin, [IPv4Address("8.8.8.8"), IPv4Address("192.168.7.7")])
    assert "192.168" not in str(caught.value)


def test_a_base_url_has_no_query():
    with pytest.raises(AddressError, match="query"):
        check_url("https://host/v1?key=1")
    assert str(check_url("https://Host/v1/")) == "https://host/v1/"

"""A scripted HTTP/1.1 server on loopback, written without any of the code under test."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Request(NamedTuple):
    """What came in: the first line, the headers by lower-case name, the body, and the connection's number from 1."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Upstream:
    """``answer(connection, request)`` is a coroutine function that writes to ``connection``."""

    def __init__(self, answer, *, tls=None, port=0):
        self.answer = answer
        self.tls = tls
        self.port = port
        self.requests = []
        self.connections = []
        self.errors = []

    async def __aenter__(self):
        self.server = await asyncio.get_running_loop().create_server(
            lambda: Socket(self),
            "127.0.0.1",
            self.port,
            ssl=self.tls,
            **({"ssl_handshake_timeout": 60} if self.tls else {}),
        )
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *error):
        self.server.close()
        for connection in self.connections:
            connection.transport.abort()
            if connection.task:
                connection.task.cancel()
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors[0]

    async def gone(self, number=1, within=0.1):
        """Wait until a connection was closed by the other side; fail when it takes longer than ``within`` seconds."""
        await asyncio.wait_for(self.connections[number - 1].lost.wait(), within)


class Socket(asyncio.Protocol):
    """One connection. ``write`` and ``close`` are for the script."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.buffer = b""
        self.task = None
        self.lost = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.upstream.connections.append(self)
        self.number = len(self.upstream.connections)

    def connection_lost(self, error):  # noqa: ARG002  # asyncio's signature
        self.lost.set()

    def data_received(self, data):
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        request = Request(line, headers, rest[:length], self.number)
        self.upstream.requests.append(request)
        self.task = asyncio.ensure_future(self.upstream.answer(self, request))
        self.task.add_done_callback(self.done)

    def done(self, task):
        if not task.cancelled() and task.exception():
            self.upstream.errors.append(task.exception())

    def write(self, data):
        self.transport.write(data)

    def close(self):
        self.transport.close()

    def reset(self):
        self.transport.abort()


def answer(body=b"ok", status="200 OK", **headers):
    """Return the bytes of an answer with a content-length."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body)}",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def says(data, *, close=False):
    """Return a script that always writes ``data``."""

    async def script(connection, request):
        connection.write(data)
        if close:
            connection.close()

    return script


async def silent(connection, request):
    """Never answer."""


class Certificates:
    """A certificate authority for this test alone, and contexts for both sides."""

    def __init__(self, folder, *names):
        self.folder = folder
        authority_key = ec.generate_private_key(ec.SECP256R1())
        key = ec.generate_private_key(ec.SECP256R1())
        authority = _certificate("Test CA", authority_key, authority_key, [])
        leaf = _certificate("Test server", key, authority_key, names)
        (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        (folder / "server.pem").write_bytes(
            leaf.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @property
    def server(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem")
        return context

    @property
    def client(self):
        return ssl.create_default_context(cafile=self.folder / "ca.pem")


def _certificate(name, key, signer, names):
    def as_name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def alternative(text):
        try:
            return x509.IPAddress(ipaddress.ip_address(text))
        except ValueError:
            return x509.DNSName(text)

    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(as_name(name))
        .issuer_name(as_name("Test CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([alternative(text) for text in names]), critical=False
        )
    else:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    return builder.sign(signer, hashes.SHA256())

"""Master keys, and what is sealed under them.

AES-256-GCM with a random nonce. The key proper is derived from the master key for one purpose (HKDF-SHA256), and the
place where a ciphertext belongs is bound to it as associated data: moved to another row, user or provider it does not open.
A sealed value is ``key id (8 bytes) + nonce (12) + ciphertext and tag``.
"""

import base64
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rini.errors import KeyUnreadableError
from rini.kit.secrets_file import read_secrets
from rini.telemetry import logs

MASTER_KEY_BYTES = 32
_ID_BYTES = 8
_NONCE_BYTES = 12

_log = logs.get_logger(__name__)


class Keyring:
    """The master keys that this process has: the first seals, all of them open.

    ``file`` is the data folder's secrets file. What another process adds there counts here too: a new first key from the next
    ``seal`` on, the others when a sealed value names a key that is not known yet.
    """

    def __init__(self, master_keys: Iterable[bytes], file: Path | None = None) -> None:
        self._ciphers: dict[bytes, AESGCM] = {}
        self._current = b""
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._add(master_keys)
        if not self._current:
            raise ValueError("A keyring needs a master key.")

    @property
    def current_id(self) -> str:
        """The id of the key that seals, in hex."""
        self._follow_file()
        return self._current.hex()

    def seal(self, plaintext: str, place: str) -> bytes:
        """Encrypt ``plaintext`` for ``place``."""
        self._follow_file()
        key_id, nonce = self._current, os.urandom(_NONCE_BYTES)
        return key_id + nonce + self._ciphers[key_id].encrypt(nonce, plaintext.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> str:
        """Decrypt what was sealed for ``place``. Raises KeyUnreadableError."""
        key_id, nonce = sealed[:_ID_BYTES], sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        if key_id not in self._ciphers:
            self._follow_file()
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyUnreadableError(
                f"The stored key was encrypted under master key {key_id.hex()}, which this server does not have: "
                f"add it to RINI_API_MASTER_KEYS_OLD, or store the provider key again."
            )
        try:
            return cipher.decrypt(nonce, sealed[_ID_BYTES + _NONCE_BYTES :], place.encode()).decode()
        except InvalidTag:
            raise KeyUnreadableError("The stored key does not belong where it stands; store it again.") from None

    def _add(self, master_keys: Iterable[bytes]) -> None:
        ids = [self._cipher(master_key) for master_key in master_keys]
        if ids:
            self._current = ids[0]

    def _cipher(self, master_key: bytes) -> bytes:
        key_id = hashlib.sha256(b"rini master key id" + master_key).digest()[:_ID_BYTES]
        if key_id not in self._ciphers:
            derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"rini/provider-keys/1").derive(master_key)
            self._ciphers[key_id] = AESGCM(derived)
        return key_id

    def _follow_file(self) -> None:
        version = _version(self._file)
        if self._file is None or version is None or version == self._seen:
            return
        self._seen = version
        try:
            self._add([decode_master_key(text) for text in read_secrets(self._file).get("master_keys", ())])
        except (OSError, ValueError, AttributeError, TypeError) as error:
            # Somebody edits it by hand: the keys that were good so far go on.
            _log.error("secrets_file_not_read", path=self._file, reason=type(error).__name__)


def key_id_of(sealed: bytes) -> str:
    """Return the id of the master key under which ``sealed`` was sealed, in hex."""
    return sealed[:_ID_BYTES].hex()


def _version(file: Path | None) -> tuple[int, int] | None:
    """Return what changes with every replacement of the file; ``None`` where there is none."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def decode_master_key(text: str) -> bytes:
    """Return the 32 bytes that ``text`` is the base64 of, url-safe or not, padded or not. Raises ValueError."""
    plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise ValueError("is not base64") from None
    if len(key) != MASTER_KEY_BYTES:
        raise ValueError(f"is the base64 of {len(key)} bytes instead of {MASTER_KEY_BYTES}")
    return key


def make_master_key() -> str:
    """Return a new master key, in the form of the setting."""
    return base64.urlsafe_b64encode(os.urandom(MASTER_KEY_BYTES)).decode()

"""Where the bytes of files are kept: a folder, or a bucket that speaks S3. Plain functions that wait; keys are ``user/reference``."""

import contextlib
import errno
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from rini.errors import FilesUnavailableError, NotFoundError
from rini.settings import SettingsError
from rini.telemetry import logs

CONNECT_SECONDS = 5
ANSWER_SECONDS = 30
RETRIES = 2
DELETED_AT_ONCE = 1000

_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/-]*)?")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_log = logs.get_logger(__name__)


class Blobs(Protocol):
    """What both places do. All raise FilesUnavailableError when the place does not answer or is full."""

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data``: all of it or nothing."""
        ...

    def get(self, key: str) -> bytes:
        """Return what is kept. Raises NotFoundError."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete what is kept; what is not there is no error."""
        ...


def open_blobs(url: str, folder: Path) -> Blobs:
    """Return the place that RINI_FILES_URL names; ``folder`` where it is empty. Raises SettingsError."""
    if url:
        return Bucket(url)
    return Folder(folder)


class Folder:
    """A folder for this user alone, with one for each of the server's users in it."""

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"RINI_DATA_DIR: {path} cannot be made: {error.strerror}.") from None
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise SettingsError(f"RINI_DATA_DIR: {path} cannot be written.")
        self._path = path
        self._store = LocalStore(path)

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data``. It is written beside its place and then moved there."""
        path = self._path / key
        with _told():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            obstore.put(self._store, key, data, use_multipart=False)
            path.chmod(0o600)

    def get(self, key: str) -> bytes:
        """Return what is kept."""
        with _told():
            return bytes(obstore.get(self._store, key).bytes())

    def delete(self, keys: Sequence[str]) -> None:
        """Delete what is kept, and what a process that died while it wrote has left beside it."""
        with _told():
            for key in keys:
                path = self._path / key
                path.unlink(missing_ok=True)
                path.with_name(path.name + "#1").unlink(missing_ok=True)
            for parent in {(self._path / key).parent for key in keys}:
                with contextlib.suppress(OSError):  # it holds others, or is gone
                    parent.rmdir()


class Bucket:
    """An S3 bucket, or a prefix in one. Credentials, region and endpoint are those of the ``AWS_…`` variables."""

    def __init__(self, url: str) -> None:
        # The text says nothing of what was given: it may hold a secret.
        if _URL.fullmatch(url) is None:
            raise SettingsError("RINI_FILES_URL: must be s3://bucket or s3://bucket/prefix.")
        try:
            self._store = S3Store.from_url(
                url.rstrip("/"),
                client_options={
                    "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                    "timeout": timedelta(seconds=ANSWER_SECONDS),
                    "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"),
                },
                retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=ANSWER_SECONDS)},
            )
        except (BaseError, ValueError):
            raise SettingsError("RINI_FILES_URL: the bucket cannot be used with these AWS_… variables.") from None

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data``."""
        with _told():
            obstore.put(self._store, key, data, use_multipart=False)

    def get(self, key: str) -> bytes:
        """Return what is kept."""
        with _told():
            return bytes(obstore.get(self._store, key).bytes())

    def delete(self, keys: Sequence[str]) -> None:
        """Delete what is kept."""
        with _told():
            for start in range(0, len(keys), DELETED_AT_ONCE):
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self._store, keys[start : start + DELETED_AT_ONCE])


@contextmanager
def _told() -> Generator[None]:
    """Tell the caller what went wrong in Rini's terms, and the log in the storage's own."""
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError("The file is not in the storage any more.") from None
    except (BaseError, OSError) as error:
        _log.warning("files_unavailable", reason=str(error).partition("\n")[0])
        if any(f"os error {code})" in str(error) or getattr(error, "errno", None) == code for code in _FULL):
            raise FilesUnavailableError("The disk for files is full; the file was not stored.") from error
        raise FilesUnavailableError("The storage of files does not answer; try again in a moment.") from error

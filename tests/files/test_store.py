"""Keeping files: in a folder, in a bucket, and what is swept up."""

import asyncio
import resource
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import GenericError

from rini.accounts import users
from rini.db import Database
from rini.errors import FilesUnavailableError, NotFoundError
from rini.files import repository, store
from rini.files.store import Files
from rini.settings import SettingsError
from tests.conftest import DATABASES
from tests.files.bucket import S3

DATA = b"\x89PNG any bytes"
on_both = pytest.mark.parametrize("database", DATABASES, indirect=True)
NOBODY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "files"


@pytest.fixture
def files(database: Database, folder: Path) -> Iterator[Files]:
    opened = Files(database, folder)
    yield opened
    opened.close()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with S3() as running:
        monkeypatch.setenv("AWS_ENDPOINT", running.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield running


@on_both
def test_a_file_is_kept_and_read_by_its_user(files: Files, database: Database, folder: Path, user_id: int):
    async def keep() -> str:
        reference = await files.save(user_id, DATA, "image/png")
        assert await files.read(user_id, reference) == DATA
        return reference

    reference = asyncio.run(keep())
    other = Files(database, folder)
    assert other.read_sync(user_id, reference) == DATA
    assert asyncio.run(other.read(user_id, reference)) == DATA
    with pytest.raises(NotFoundError):
        other.read_sync(user_id + 1, reference)
    other.close()


def test_nobody_else_on_the_machine_can_read_it(files: Files, folder: Path, user_id: int):
    reference = asyncio.run(files.save(user_id, DATA, "image/png"))
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / str(user_id), folder / str(user_id) / reference)
    ]
    assert modes == [0o700, 0o700, 0o600]


def test_a_reference_that_is_none_leads_nowhere(files: Files, user_id: int):
    for reference in ("", "..", "../../rini.db", "/etc/passwd", NOBODY, NOBODY + "#1", "a\x00b"):
        with pytest.raises(NotFoundError):
            files.read_sync(user_id, reference)


def test_the_last_files_are_kept_in_memory_within_a_bound(
    files: Files, folder: Path, user_id: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "KEPT_BYTES", 2500)
    first, second, third = [asyncio.run(files.save(user_id, bytes(1000), "image/png")) for _ in range(3)]
    for path in (folder / str(user_id)).iterdir():
        path.unlink()
    assert files.read_sync(user_id, second) == files.read_sync(user_id, third) == bytes(1000)
    with pytest.raises(NotFoundError):
        files.read_sync(user_id, first)
    asyncio.run(files.delete([second]))
    with pytest.raises(NotFoundError):
        files.read_sync(user_id, second)


def test_a_write_that_fails_half_way_leaves_no_bytes(files: Files, folder: Path, user_id: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, hard))
    try:
        with pytest.raises(FilesUnavailableError):
            asyncio.run(files.save(user_id, bytes(9_000_000), "image/png"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((folder / str(user_id)).iterdir()) == []


def test_a_full_disk_is_told(files: Files, user_id: int, monkeypatch: pytest.MonkeyPatch):
    def put(*_: object, **__: object) -> None:
        raise GenericError(
            "Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)\n\nDebug"
        )

    monkeypatch.setattr(obstore, "put", put)
    with pytest.raises(FilesUnavailableError, match=r"^The disk for files is full; the file was not stored\.$"):
        asyncio.run(files.save(user_id, DATA, "image/png"))


@on_both
def test_only_what_no_message_names_is_deleted(
    files: Files, user_id: int, message: Callable[..., int], rows: Callable[[], set[str]], folder: Path
):
    named, free = [asyncio.run(files.save(user_id, DATA, "image/png")) for _ in range(2)]
    message(user_id, named)
    asyncio.run(files.delete([named, free, NOBODY]))
    asyncio.run(files.delete([free]))
    assert rows() == {named}
    assert [path.name for path in (folder / str(user_id)).iterdir()] == [named]


@on_both
def test_the_sweep_takes_what_was_left_behind(
    files: Files,
    user_id: int,
    message: Callable[..., int],
    age: Callable[[str], None],
    rows: Callable[[], set[str]],
    folder: Path,
    database: Database,
):
    async def save(user: int) -> str:
        return await files.save(user, DATA, "image/png")

    ghost = database.write_sync(users.create)
    old, young, named, interrupted, orphan = [asyncio.run(save(user)) for user in (*[user_id] * 4, ghost)]
    message(user_id, named)
    for each in (old, named, interrupted):
        age(each)
    # A process that dies while it writes leaves its row, and a file beside the place.
    blob = folder / str(user_id) / interrupted
    blob.rename(blob.with_name(blob.name + "#1"))
    database.write_sync(users.delete, ghost)
    assert asyncio.run(files.sweep()) == 3
    assert rows() == {young, named}
    assert {path.name for path in folder.rglob("*")} == {str(user_id), young, named}
    assert orphan not in rows()
    assert asyncio.run(files.sweep()) == 0


@on_both
def test_the_sweep_goes_through_all_of_them(
    files: Files,
    user_id: int,
    rows: Callable[[], set[str]],
    age: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(repository, "AT_ONCE", 3)
    made = [asyncio.run(files.save(user_id, DATA, "image/png")) for _ in range(9)]
    for each in made[::2]:
        age(each)
    assert asyncio.run(files.sweep()) == 5
    assert rows() == set(made[1::2])


def test_a_file_that_cannot_be_deleted_now_is_swept_up_later(
    files: Files, folder: Path, user_id: int, age: Callable[[str], None], rows: Callable[[], set[str]]
):
    reference = asyncio.run(files.save(user_id, DATA, "image/png"))
    blob = folder / str(user_id) / reference
    blob.unlink()
    (blob / "in the way").mkdir(parents=True)
    files.delete_sync([reference])
    assert rows() == {reference}
    age(reference)
    with pytest.raises(FilesUnavailableError):
        asyncio.run(files.sweep())
    (blob / "in the way").rmdir()
    blob.rmdir()
    assert asyncio.run(files.sweep()) == 1


def test_a_sweep_that_fails_is_not_the_last(files: Files, monkeypatch: pytest.MonkeyPatch):
    tried = asyncio.Event()
    results = iter([RuntimeError("the database is away"), 0])

    async def sweep() -> int:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        tried.set()
        return result

    monkeypatch.setattr(files, "sweep", sweep)
    monkeypatch.setattr(store, "SWEEP_SECONDS", 0)

    async def run() -> None:
        sweeping = asyncio.create_task(files.keep_swept())
        await asyncio.wait_for(tried.wait(), 5)
        sweeping.cancel()
        with pytest.raises((asyncio.CancelledError, RuntimeError)):
            await sweeping

    asyncio.run(run())


@on_both
def test_a_user_who_is_gone_takes_all_files_along(
    files: Files, user_id: int, rows: Callable[[], set[str]], folder: Path
):
    for _ in range(3):
        asyncio.run(files.save(user_id, DATA, "image/png"))
    kept = asyncio.run(files.save(user_id + 1, DATA, "image/png"))
    files.delete_user_sync(user_id)
    assert rows() == {kept}
    assert not (folder / str(user_id)).exists()


def test_files_in_a_bucket(database: Database, folder: Path, s3: S3, user_id: int, rows: Callable[[], set[str]]):
    files = Files(database, folder, "s3://pictures/of/rini")
    first, second = [asyncio.run(files.save(user_id, DATA, "image/png")) for _ in range(2)]
    assert s3.objects == {f"/pictures/of/rini/{user_id}/{name}": DATA for name in (first, second)}
    assert not folder.exists()
    other = Files(database, folder, "s3://pictures/of/rini/")
    assert other.read_sync(user_id, first) == DATA
    with pytest.raises(NotFoundError):
        other.read_sync(user_id + 1, first)
    files.delete_sync([first, second])
    assert (s3.objects, rows()) == ({}, set())
    files.close()
    other.close()


def test_a_bucket_that_is_down(
    database: Database,
    folder: Path,
    s3: S3,
    user_id: int,
    rows: Callable[[], set[str]],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("rini.files.blobs.RETRIES", 0)
    files = Files(database, folder, "s3://pictures")
    kept = asyncio.run(files.save(user_id, DATA, "image/png"))
    s3.down = True
    with pytest.raises(FilesUnavailableError, match="The storage of files does not answer"):
        asyncio.run(files.save(user_id, DATA, "image/png"))
    files.delete_sync([kept])
    assert kept in rows()
    s3.down = False
    files.delete_sync([kept])
    assert kept not in rows()
    files.close()


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///x", "s3://Bad Bucket/x", "https://key:secret@host/x", "files", "s3://b?x=secret"]
)
def test_a_wrong_address_stops_the_start_and_is_not_repeated(url: str, folder: Path):
    with pytest.raises(SettingsError, match=r"^RINI_FILES_URL: must be s3://bucket or s3://bucket/prefix\.$"):
        Files(None, folder, url)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path):
    (tmp_path / "files").write_text("in the way")
    with pytest.raises(SettingsError, match=r"RINI_DATA_DIR: .* cannot be made"):
        Files(None, tmp_path / "files")  # type: ignore[arg-type]

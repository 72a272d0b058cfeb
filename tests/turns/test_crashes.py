"""kill -9 at the worst moments, and a full disk: nothing that a client saw is missing afterwards."""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.ledger import rows, wait_for_rows
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, openai_chunks


async def _never(conversation: Conversation) -> None:
    await conversation.until_left()


async def _endless(conversation: Conversation) -> None:
    await conversation.head()
    for number in range(100_000):
        await conversation.chunk(openai_chunks(f"w{number} ", finish=None)[-1])
        if number > 200:
            await conversation.until_left()
            return


def _again(server: Server, user: Client) -> None:
    server.kill()
    server.start()
    user.url = server.url


def test_killed_between_question_and_answer(new_server, upstream):
    server = new_server()
    user = server.user()
    session = user.session()
    upstream.scripts[user.provider_key] = _never
    reader = None
    import threading

    threading.Thread(target=lambda: _swallow(user, session), daemon=True).start()
    until = time.monotonic() + 5
    while not upstream.calls(user.provider_key) and time.monotonic() < until:
        time.sleep(0.01)
    _again(server, user)
    kept = user.get(f"/sessions/{session}/messages/").json
    assert [(each["role"], each["content"]) for each in kept] == [("user", "question")]
    row = rows(server)[0]
    assert (row["outcome"], row["session_id"], row["message_id"]) == ("interrupted", session, kept[0]["id"])
    upstream.scripts.pop(user.provider_key)
    assert user.ask("again", session_id=session).json["response_text"] == "echo: again"
    assert reader is None


def _swallow(user: Client, session: str) -> None:
    with contextlib.suppress(OSError):
        Client(user.url, user.token).ask("question", session_id=session)


@pytest.mark.parametrize("moment", [3, 40, 150])
def test_killed_in_the_middle_of_a_stream(new_server, upstream, moment: int):
    server = new_server()
    user = server.user()
    session = user.session()
    upstream.scripts[user.provider_key] = _endless
    seen = ""
    with user.open_stream("tell", session_id=session) as reader:
        for event in reader:
            if event.event == "text":
                seen += event.data["text"]
                if len(seen.split()) >= moment:
                    break
        server.kill()
        # What the kernel had for the client already is what it saw, too.
        try:
            for event in reader:
                seen += event.data["text"]
        except (OSError, ValueError, KeyError):
            pass
    _again(server, user)
    kept = user.get(f"/sessions/{session}/messages/").json
    assert len(kept) == 2
    assert (kept[1]["status"], kept[1]["status_reason"]) == ("partial", "interrupted")
    assert kept[1]["content"].startswith(seen)
    assert kept[1]["parent_message_id"] == kept[0]["id"]
    row = rows(server)[0]
    assert (row["outcome"], row["usage_estimated"], row["message_id"]) == ("interrupted", 1, kept[1]["id"])
    assert not [path for path in (server.data_dir / "run").glob("*.journal") if path.stat().st_size > 1000]


def test_what_was_answered_whole_is_there_after_a_kill(new_server):
    server = new_server()
    user = server.user()
    session = user.session()
    for number in range(20):
        answer = user.ask(f"q{number}", session_id=session)
        assert answer.status == 200
    _again(server, user)
    kept = user.get(f"/sessions/{session}/messages/").json
    assert len(kept) == 40
    assert kept[-1] == answer.json["assistant_message"]
    assert len(rows(server)) == 20


def test_a_stateless_call_that_died_is_in_the_ledger(new_server, upstream):
    server = new_server()
    user = server.user()
    upstream.scripts[user.provider_key] = _endless
    with user.open_stream("tell") as reader:
        next(iter(reader))
        server.kill()
    _again(server, user)
    assert [row["outcome"] for row in rows(server)] == ["interrupted"]


def test_recovery_leaves_the_journals_of_the_living_alone(new_server, upstream, tmp_path: Path):
    first = new_server()
    user = first.user()
    session = user.session()
    upstream.scripts[user.provider_key] = _endless
    with user.open_stream("tell", session_id=session) as reader:
        next(iter(reader))
        second = new_server(data_dir=first.data_dir)
        other = Client(second.url, user.token)
        assert [each["role"] for each in other.get(f"/sessions/{session}/messages/").json] == ["user"]
    wait_for_rows(first, 1)
    kept = other.get(f"/sessions/{session}/messages/").json
    assert [(each["role"], each["status_reason"]) for each in kept] == [("user", None), ("assistant", "client_left")]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 6 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=False).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(new_server, upstream, small_disk: Path):
    server = new_server(data_dir=small_disk / "data")
    user = server.user()
    session = user.session()
    assert user.ask("before", session_id=session).status == 200
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    big = "x" * 200_000
    stored = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": big})
    assert (stored.status, stored.json["code"]) == (507, "storage_full")
    before = len(upstream.calls(user.provider_key))
    refused = user.ask(big, session_id=session)
    assert (refused.status, refused.json["code"]) == (507, "storage_full")
    assert len(upstream.calls(user.provider_key)) == before, "nothing is spent on what cannot be kept"
    assert user.get(f"/sessions/{session}/messages/").status == 200
    # A stateless answer is paid and delivered; its row waits for room.
    assert user.post(
        "/llm/chat-completions/",
        {"messages": [{"role": "user", "content": "x"}], "provider": "openai", "model": "m"},
    ).status == 200  # fmt: skip
    ballast.unlink()
    until = time.monotonic() + 10
    while user.get("/readyz").status != 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert user.get("/readyz").status == 200
    assert user.ask("after", session_id=session).status == 200
    wait_for_rows(server, 3)
    server.stop()
    server.start()
    user.url = server.url
    contents = [each["content"] for each in user.get(f"/sessions/{session}/messages/").json]
    assert contents == ["before", "echo: before", "after", "echo: after"]

"""The journal under load that never pauses, after it was damaged, and while several processes start."""

import errno
import fcntl
import os

import pytest

from rini.accounts import users
from rini.canon import Opaque, PartDelta, PartStart, Text, Usage, UsageUpdate
from rini.db import Database
from rini.db.migrate import migrate
from rini.kit.clock import now
from rini.sessions import messages, repository
from rini.sessions.context import read_path
from rini.turns import journal as journal_module
from rini.turns.journal import Journal, Open, abandoned
from rini.turns.recovery import recover
from rini.usage.prices import Prices
from rini.usage.usage_record import UsageRecord


def _record(call_id, user_id=1):
    return UsageRecord(call_id=call_id, user_id=user_id, endpoint="/x", provider="openai", model="m", created_at=now())


def _events(text):
    return [PartStart(0, Text("")), PartDelta(0, text)]


def _left(folder):
    return {left.call.record.call_id: left.builder.reply() for _, calls in abandoned(folder) for left in calls}


def _die(journal):
    """Let go of the files as a process does that dies."""
    for file in {journal._newest, *journal._calls.values()}:
        file._map.close()
        os.close(file._file)


def test_a_load_that_never_pauses_does_not_fill_the_disk(tmp_path):
    journal = Journal(tmp_path)
    journal.begin(Open(_record("long"), "openai_chat", "s", 1))
    journal.add("long", _events("x"))
    most = 0
    text = "y" * 200_000
    journal.begin(Open(_record("c0"), "openai_chat", "s", 1))
    for number in range(200):
        journal.begin(Open(_record(f"c{number + 1}"), "openai_chat", "s", 1))
        journal.add(f"c{number}", _events(text))
        journal.end(f"c{number}")
        most = max(most, sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert most < 4 * journal_module.EMPTIED_ABOVE_BYTES
    assert len(list(tmp_path.iterdir())) <= 3
    journal.add("long", [PartDelta(0, "z")])
    _die(journal)
    found = _left(tmp_path)
    assert found.keys() == {"long", "c200"}
    assert found["long"].text == "xz"


def test_a_line_that_finds_no_room_costs_only_itself(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.begin(Open(_record("whole"), "openai_chat", "s", 1))
    monkeypatch.setattr(os, "posix_fallocate", _full)
    journal.add("whole", _events("lost" * journal_module.PIECE_BYTES))
    assert not journal._newest.write(["add", "whole", "x" * journal_module.PIECE_BYTES])
    journal.begin(Open(_record("over"), "openai_chat", "s", 1))
    journal.end("over")
    journal.add("whole", _events("text"))
    _die(journal)
    found = _left(tmp_path)
    assert found.keys() == {"whole"}
    assert found["whole"].text == "text"


def _full(*_):
    raise OSError(errno.ENOSPC, "no space left")


DAMAGE = [
    b'["add", "a", "\xff\xfe"]',
    b"[]",
    b"\x00" * 4096,
    b"[" * 100_000,
    b'["begin"]',
    b'{"a": 1}',
    b'["add", 5]',
    b'["end"]',
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: repr(damage[:12]))
def test_what_a_power_cut_left_does_not_stop_the_start(tmp_path, damage):
    journal = Journal(tmp_path)
    journal.begin(Open(_record("before"), "openai_chat", "s", 1))
    file = journal._newest
    file._map[file.size : file.size + len(damage) + 1] = b"\n" + damage
    file.size += len(damage) + 1
    journal.begin(Open(_record("after"), "openai_chat", "s", 1))
    _die(journal)
    assert _left(tmp_path).keys() == {"before", "after"}


def test_a_journal_is_never_seen_before_it_is_locked(tmp_path, monkeypatch):
    real = fcntl.flock
    seen = []

    def flock(file, kind):
        if not isinstance(file, int):
            return real(file, kind)
        # Another process that starts at this very moment.
        monkeypatch.setattr(fcntl, "flock", real)
        seen.extend(path for path, _ in abandoned(tmp_path))
        return real(file, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    journal = Journal(tmp_path)
    assert seen == []
    assert list(abandoned(tmp_path)) == []
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_odd_values_come_back_from_the_journal(tmp_path):
    value = {"n": 10**40, "f": 1.5e300, "t": "\x00\u2028\U0001f600", "deep": [[[[None]]]], "k" * 1000: True}
    events = [
        PartStart(0, Opaque("openai_chat", value)),
        PartStart(1, Text("a", extras={"openai_chat": {"x": value}})),
        PartDelta(1, "\x00", extras={"openai_chat": {"y": [value]}}),
        UsageUpdate(Usage(output_tokens=10**30)),
    ]
    journal = Journal(tmp_path)
    journal.begin(Open(_record("odd"), "openai_chat", "s", 1))
    journal.add("odd", events)
    _die(journal)
    reply = _left(tmp_path)["odd"]
    first, second = reply.choices[0].parts
    assert first == Opaque("openai_chat", value)
    assert second == Text("a\x00", extras={"openai_chat": {"x": value, "y": [value]}})
    assert reply.usage == Usage(output_tokens=10**30)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_whatever_was_left_the_next_start_succeeds(kind, request, tmp_path):
    url = f"sqlite:///{tmp_path / 'j.db'}"
    if kind == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    database = Database(url)
    user_id = database.write_sync(users.create)
    gone = database.write_sync(users.create)
    session = database.write_sync(repository.create, user_id, None, None, "auto")
    question = database.write_sync(messages.append, user_id, session.id, "user", "q", None)
    run = tmp_path / "run"
    journal = Journal(run)
    odd = [*_events("a\x00b"), UsageUpdate(Usage(input_tokens=10**30, output_tokens=2**40))]
    asked = {"session_id": session.id, "parent_message_id": question.id, "provider": "openai", "model": "m"}
    for call_id, owner in (("odd", user_id), ("twice", user_id), ("orphan", gone)):
        answer = database.write_sync(messages.open_answer, user_id=owner, **asked)
        journal.begin(Open(_record(call_id, owner), "openai_chat", session.id, answer))
        journal.add(call_id, odd)
    journal.begin(Open(_record("stateless", gone), "openai_chat", None, None))
    database.write_sync(users.delete, gone)
    _die(journal)
    copies = [path.read_bytes() for path in run.iterdir()]
    assert recover(database, Prices(), run) == 2
    # Killed before the file was removed: the same again settles nothing twice.
    (run / f"again{journal_module.SUFFIX}").write_bytes(copies[0])
    assert recover(database, Prices(), run) == 0
    kept, total = database.read_sync(messages.page, user_id, session.id, 0, 10)
    assert total == 3
    assert [(row.role, row.status, row.parent_message_id) for row in kept[1:]] == [
        ("assistant", "partial", question.id)
    ] * 2
    context = database.read_sync(read_path, kept[1].id, None, 1000).messages
    assert context[-1].parts == (Text("a\ufffdb"),)
    database.close()

"""Whatever a file of Rini's own holds: imported and exported again, it is the same file, byte for byte."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rini import canon
from rini.inference.estimate import conversation_tokens
from rini.memory.tables import memory_entries
from rini.responses.tables import responses
from rini.sessions import tables
from rini.sessions.ancestry import is_ancestor, place_below
from rini.transfer import lines as line
from tests.support.things import picture
from tests.transfer.conftest import House
from tests.transfer.files import rini

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=30)
ANY_TEXT = st.text(max_size=30)
COUNT = st.none() | st.integers(0, 2**31 - 1)
WHEN = st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # the zone is given apart
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
EXTRAS = st.none() | st.dictionaries(
    st.sampled_from(("openai", "anthropic")), st.dictionaries(ANY_TEXT, JSON, max_size=2), min_size=1, max_size=1
)
MEDIA = st.builds(
    canon.Media,
    data=st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode()),
    mime_type=st.none() | TEXT,
)
FLAT = st.one_of(
    st.builds(canon.Text, ANY_TEXT, signature=st.none() | ANY_TEXT, extras=EXTRAS),
    st.builds(canon.Thinking, ANY_TEXT, signature=st.none() | ANY_TEXT, redacted=st.none() | ANY_TEXT),
    st.builds(canon.Image, MEDIA, detail=st.none() | TEXT),
    st.builds(canon.Document, MEDIA, name=st.none() | TEXT, text=st.none() | ANY_TEXT),
    st.builds(canon.Audio, MEDIA, transcript=st.none() | ANY_TEXT),
    st.builds(canon.Video, MEDIA),
    st.builds(canon.ToolCall, ANY_TEXT, ANY_TEXT, ANY_TEXT, signature=st.none() | ANY_TEXT),
    st.builds(canon.Refusal, ANY_TEXT),
    st.builds(canon.Opaque, TEXT, JSON),
)
PART = FLAT | st.builds(canon.ToolResult, ANY_TEXT, st.lists(FLAT, max_size=2).map(tuple), is_error=st.booleans())
SHORT = st.none() | TEXT
REPEATED = TEXT.filter(lambda name: name not in ("conversation", "previous_response_id"))
AS_USUAL: Any = {"memory_mode": "auto", "context_policy": "compact"}


@st.composite
def sessions(draw: Any) -> list[Any]:
    """Return the lines of a session in the order in which Rini writes them, with the numbers that it gives."""
    count = draw(st.integers(0, 7))
    numbers = st.integers(1, count) if count else st.nothing()
    some = st.lists(numbers, max_size=3).map(tuple) if count else st.just(())
    metadata = draw(st.none() | st.dictionaries(TEXT, JSON, max_size=3))
    found: list[Any] = [
        line.SessionLine(
            alias=draw(SHORT),
            system_prompt=draw(SHORT),
            memory_mode=draw(st.sampled_from(("auto", "explicit", "disabled"))),
            context_policy=draw(st.sampled_from(("refuse", "truncate", "compact"))),
            metadata=line.NOTHING if metadata is None else msgspec.Raw(msgspec.json.encode(metadata)),
            created_at=draw(WHEN),
            updated_at=draw(WHEN),
        )
    ]
    entries = draw(st.integers(0, 2))
    found += [
        line.MemoryLine(
            id=number,
            memory_type=draw(st.sampled_from(("Fact", "User Instruction"))),
            content=draw(TEXT.filter(bool)),
            sources=draw(st.none() | some),
            keywords=draw(st.none() | st.lists(TEXT, max_size=2).map(tuple)),
            importance=draw(st.none() | st.floats(0, 1000)),
            timestamp=draw(WHEN),
        )
        for number in range(1, entries + 1)
    ]
    files = systems = cuts = 0
    for number in range(1, count + 1):
        system = draw(st.none() | st.integers(1, systems + 1))
        if system == systems + 1:
            systems += 1
            found.append(line.SystemLine(id=system, text=f"{system} " + draw(TEXT)))
        file = draw(st.none() | st.integers(1, files + 1)) if number < 4 else None
        if file == files + 1:
            files += 1
            data = picture()
            found += [line.FileLine(id=file, size=len(data)), line.DataLine(base64=base64.b64encode(data).decode())]
        role = draw(st.sampled_from(("user", "assistant", "system", "tool", "developer")))
        content, parts = draw(TEXT), tuple(draw(st.lists(PART, max_size=3)))
        if file is not None and draw(st.booleans()):
            parts = (canon.Image(canon.Media(url=f"rini:{file}")), *parts)
        plain = parts in ((), (canon.Text(content),))
        found.append(
            line.MessageLine(
                id=number,
                parent=draw(st.none() | st.integers(1, number - 1)) if number > 1 else None,
                role=role,
                content=content,
                parts=line.NOTHING if plain else msgspec.Raw(msgspec.json.encode(parts)),
                origin=draw(SHORT),
                status=draw(st.sampled_from(("complete", "partial"))),
                status_reason=draw(SHORT),
                finish_reason=draw(SHORT),
                file=file,
                original_filename=draw(SHORT),
                mime_type=draw(SHORT),
                provider=draw(SHORT),
                model_asked=draw(SHORT),
                model_used=draw(SHORT),
                token_count=draw(COUNT),
                prompt_tokens=draw(COUNT),
                completion_tokens=draw(COUNT),
                response_time_ms=draw(COUNT),
                memory=draw(st.none() | st.lists(st.integers(1, entries), max_size=2).map(tuple)) if entries else None,
                system=system,
                cut=draw(st.none() | st.integers(1, cuts)) if cuts else None,
                labels=tuple(sorted(draw(st.sets(TEXT.filter(bool), max_size=2)))),
                note=draw(SHORT),
                created_at=draw(WHEN),
            )
        )
        if role == "assistant" and draw(st.booleans()):
            before = st.none() | st.integers(1, number)
            found.append(
                line.ResponseLine(
                    message=number,
                    request=msgspec.Raw(msgspec.json.encode(draw(st.dictionaries(REPEATED, JSON, max_size=3)))),
                    first_input=draw(before),
                    previous=draw(before),
                    previous_response=draw(before),
                    in_conversation=draw(st.booleans()),
                    background=draw(st.booleans()),
                    error=draw(st.sampled_from((line.NOTHING, msgspec.Raw(b'{"code":"x"}')))),
                    deleted_at=draw(st.none() | WHEN),
                    created_at=draw(WHEN),
                )
            )
        for _ in range(draw(st.integers(0, 1))):
            cuts += 1
            found.append(
                line.CutLine(
                    id=cuts,
                    message=number,
                    summary=draw(SHORT),
                    reason=draw(SHORT),
                    window_tokens=draw(COUNT),
                    size_tokens=draw(st.integers(0, 9)),
                    provider=draw(SHORT),
                    model=draw(SHORT),
                    created_at=draw(WHEN),
                )
            )
    found.append(line.EndLine(messages=count, head=draw(st.none() | numbers) if count else None))
    return found


@given(st.lists(sessions(), min_size=1, max_size=2))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_file_comes_out_as_it_went_in(house: House, told: list[list[Any]]):
    file = rini(*(each for session in told for each in session))
    imported = house.take(file).sessions
    assert [each.messages for each in imported] == [session[-1].messages for session in told]
    assert [house.export(each.id) for each in imported] == [rini(*session) for session in told]


def test_what_follows_from_the_tree_is_as_if_it_had_grown_here(house: House):
    parents = [None, 1, 2, 3, 4, 5, 6, 7, 4, 9, 10, 11, 12, 1, 14, 15, None, 17, 18]
    told = [
        line.MessageLine(
            id=n, parent=parent, role="user", status="complete", content="안녕 " * n, created_at=datetime.now(UTC)
        )
        for n, parent in enumerate(parents, 1)
    ]
    begin = line.SessionLine(**AS_USUAL, created_at=datetime.now(UTC), updated_at=datetime.now(UTC))
    session = house.take(rini(begin, *told, line.EndLine(messages=len(told), head=13))).sessions[0]
    query = "SELECT id, parent_message_id, depth, jump_id, size_tokens, content FROM messages WHERE session_id = :s ORDER BY id"
    rows = house.rows(query, s=session.id)
    ids = [row.id for row in rows]
    assert [row.parent_message_id for row in rows] == [None if each is None else ids[each - 1] for each in parents]
    for row in rows:
        place = house.database.read_sync(place_below, row.parent_message_id)
        assert {"depth": row.depth, "jump_id": row.jump_id} == place
        assert row.size_tokens == conversation_tokens((canon.Message("user", (canon.Text(row.content),)),))
    assert house.database.read_sync(is_ancestor, ids[3], ids[12])
    assert not house.database.read_sync(is_ancestor, ids[4], ids[12])


@pytest.mark.parametrize("characters", [1, 100, 10**9])
def test_a_session_in_batches_is_the_same_as_one_at_once(
    own_house: House, monkeypatch: pytest.MonkeyPatch, characters: int
):
    monkeypatch.setattr("rini.transfer.storing.BATCH_CHARACTERS", characters)
    told = sessions_of_everything()
    file = rini(*told)
    session = own_house.take(file).sessions[0]
    assert own_house.export(session.id) == file
    assert own_house.count("users") == 1
    assert own_house.rows("SELECT DISTINCT user_id FROM messages") == own_house.rows("SELECT user_id FROM sessions")
    assert own_house.rows("SELECT DISTINCT user_id FROM memory_entries") == [(own_house.user_id,)]
    assert own_house.count("message_words") == sum(isinstance(each, line.MessageLine) for each in told)
    assert not list(own_house.folder.iterdir())


def test_a_file_of_the_first_version_is_still_read(house: House):
    told = (Path(__file__).parent / "version_1.jsonl").read_bytes()
    imported = house.take(told)
    (session,) = imported.sessions
    assert (imported.format, session.messages, session.left_out) == ("rini", 5, [])
    assert house.export(session.id) == told.replace(b'"version":1', b'"version":2')


OWNERS = {"user_id", "session_id"}
FOLLOWS = {"depth", "jump_id", "size_tokens"}
"""What is the same wherever the message is, and made anew."""


@pytest.mark.parametrize(
    ("table", "told", "names", "left_out"),
    [
        (tables.sessions, line.SessionLine, {"meta": "metadata"}, OWNERS | {"id", "head_id"}),
        (
            tables.messages,
            line.MessageLine,
            {
                "parent_message_id": "parent",
                "file_reference": "file",
                "memory_ids": "memory",
                "system_digest": "system",
                "cut_id": "cut",
            },
            OWNERS | FOLLOWS,
        ),
        (tables.context_cuts, line.CutLine, {"message_id": "message"}, OWNERS),
        (memory_entries, line.MemoryLine, {"source_message_ids": "sources"}, OWNERS),
        (
            responses,
            line.ResponseLine,
            {"answer_id": "message", "first_input_id": "first_input", "previous_id": "previous"},
            OWNERS,
        ),
    ],
    ids=["sessions", "messages", "cuts", "memory", "responses"],
)
def test_no_column_is_forgotten(table: sa.Table, told: Any, names: dict[str, str], left_out: set[str]):
    columns = {column.key for column in table.columns} - left_out
    assert {names.get(column, column) for column in columns} <= set(told.__struct_fields__)


def sessions_of_everything() -> list[Any]:
    """Return a session in which everything names something else."""
    moment = datetime(2025, 3, 1, tzinfo=UTC)
    data = picture()
    found: list[Any] = [
        line.SessionLine(**AS_USUAL, alias="여행", created_at=moment, updated_at=moment),
        line.MemoryLine(id=1, memory_type="Fact", content="tea", sources=(1, 5), timestamp=moment),
        line.SystemLine(id=1, text="Be brief."),
        line.FileLine(id=1, size=len(data)),
        line.DataLine(base64=base64.b64encode(data).decode()),
    ]
    parts = (canon.Image(canon.Media(url="rini:1", mime_type="image/png")), canon.Text("look"))
    for number in range(1, 6):
        found.append(
            line.MessageLine(
                id=number,
                parent=number - 1 or None,
                role="user",
                status="complete",
                content=f"text {number}",
                parts=msgspec.Raw(msgspec.json.encode(parts)) if number == 1 else line.NOTHING,
                file=1 if number == 1 else None,
                memory=(1,),
                system=1,
                cut=1 if number > 2 else None,
                labels=("a", "b"),
                created_at=moment,
            )
        )
        if number == 2:
            found.append(line.CutLine(id=1, message=2, summary="So far.", size_tokens=3, created_at=moment))
    found.append(line.EndLine(messages=5, head=4))
    return found

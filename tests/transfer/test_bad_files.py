"""What cannot be read: one sentence that says where and why, and nothing half."""

import base64
import io
import json
import struct
import zipfile
from typing import Any

import pytest

from rini.errors import ImportRefusedError
from rini.transfer import archive, elements, imports
from tests.support.things import picture
from tests.transfer.conftest import MOST_BYTES, House
from tests.transfer.files import SESSION, as_json, as_zip, chatgpt, claude, end, message, node, rini, said

ONE = chatgpt(node("q", None, "user", "x"))
TWO = rini(SESSION, message(1), message(2, 1), end(2, 2))


def answer(number: int) -> dict[str, Any]:
    return message(number, role="assistant")


def response(number: int, **fields: Any) -> dict[str, Any]:
    return {"type": "response", "message": number, "request": {}, "created_at": SESSION["created_at"]} | fields


DEEP = b"[" * 200_000 + b"]" * 200_000


def refused(house: House, data: bytes, wanted: Any = None) -> ImportRefusedError:
    before = house.count("sessions"), house.count("messages"), house.count("users"), house.count("stored_files")
    with pytest.raises(ImportRefusedError) as raised:
        house.take(data, wanted)
    error = raised.value
    for session in error.fields["session_ids"]:
        assert house.export(session).splitlines()[-1].startswith(b'{"type":"end"')
    if not error.fields["session_ids"]:
        assert (
            house.count("sessions"),
            house.count("messages"),
            house.count("users"),
            house.count("stored_files"),
        ) == before
    assert not list(house.folder.iterdir())
    assert error.detail.endswith("stored.") or error.detail.endswith("stored before.")
    return error


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The file is neither a zip archive nor JSON"),
        (b"hello", "The file is neither a zip archive nor JSON"),
        (b"\x1f\x8b\x08\x00" + b"x" * 100, "The file is neither a zip archive nor JSON"),
        (b'[{"mapping": null}]', "Conversation 1 does not fit at mapping: expected `object`, got `null`"),
        (b'[{"mapping": {"a": null}}]', "Conversation 1 does not fit at mapping[...]: expected `object`, got `null`"),
        ("[{}]".encode("utf-16"), "The file is neither a zip archive nor JSON"),
        (b"[]", "The file has conversations with neither"),
        (b"{}", "The file has conversations with neither"),
        (b"[1]", "The file is no JSON object"),
        (b'["x"]', "The file is no JSON object"),
        (b"[[{}]]", "The file is no JSON object"),
        (b'[{"x": 1}]', "The file has conversations with neither ChatGPT's mapping nor Claude's chat_messages"),
        (as_json(chatgpt(node("r", None))), "The file holds no conversation with a message in it"),
        (as_json(ONE)[:-5], "The file is not whole: the file was cut"),
        (as_json(ONE)[:-1] + b"}", "Conversation 2 ends an array that is none"),
        (as_json(ONE) + b"]", "Conversation 2 comes after the end of the array"),
        (as_json(ONE) + b" x", "Conversation 2 is no JSON object"),
        (as_json(ONE, 7), "Conversation 2 is no JSON object"),
        (b"[" + json.dumps(ONE).encode() + b" " + json.dumps(ONE).encode() + b"]", "Conversation 2 is set apart by other than one comma"),
        (as_json(ONE, {"mapping": 7}), "Conversation 2 does not fit at mapping: expected `object`, got `int`"),
        (as_json(chatgpt(node("q", None, "user", {"content_type": "text", "parts": ["x"] * 10_001}))), "Conversation 1 does not fit at mapping[...].message.content.parts"),
        (as_json(ONE, {"title": "no mapping"}), "Conversation 2 does not fit: Object missing required field `mapping`"),
        (as_json(ONE).replace(b'"x"', b'"\xff"'), "Conversation 1 is not UTF-8"),
        (b'[{"mapping": {"a": {"message": ' + DEEP + b"}}}]", "The file is nested too deeply"),
        (as_json(ONE)[:-1] + b', {"mapping": {}, "x": ' + DEEP + b"}]", "Conversation 2 is nested too deeply"),
        (as_json(chatgpt(node("a", "b", "user", "x"), node("b", "a", "user", "x"))), "Conversation 1 has messages that are each other's ancestors"),
        (as_json(chatgpt(node("a", "gone", "user", "x"))), "Conversation 1 has a message 'a' below 'gone', which is not there"),
        (as_json(chatgpt(node("a", None, "user", "x", create_time=1e18))), "Conversation 1 has the time 1e+18, which is no date"),
        (as_json(chatgpt(node("a", None, "user", "x", create_time=-1e9))), "Conversation 1 has the date 1938-04-24"),
        (as_json(claude(said("1", text="x"), said("1", text="y"))), "Conversation 1 has two messages with the id '1'"),
        (as_json(claude(said("1", "robot", "x"))), "Conversation 1 has a message of 'robot', and only human and assistant are known"),
        (as_json(claude(said("1", text="x", parent_message_uuid="gone"))), "Conversation 1 has a message '1' below 'gone', which is not there"),
        (as_json(claude(said("1", text="x", created_at="yesterday"))), "Conversation 1 does not fit at chat_messages[0].created_at"),
    ],
)  # fmt: skip
def test_an_export_of_others_is_refused_with_a_sentence(one_house: House, data: bytes, sentence: str):
    assert refused(one_house, data).detail.startswith(sentence)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "The file holds no conversation"),
        ([message(1)], "Line 2 comes before the line of a session"),
        ([SESSION], "Line 2 is the last one, and the session of line 2 has not ended: the file was cut"),
        ([SESSION, SESSION], "Line 3 begins a session before the one of line 2 has ended"),
        ([SESSION, message(1), message(1), end(2)], "Line 4 has the message 1 after 1: the numbers must rise"),
        ([SESSION, message(1, 1), end(1)], "Line 3 names 1 as its parent, and no message before it has that number"),
        ([SESSION, message(1, 2), message(2, 1), end(2)], "Line 3 names 2 as its parent"),
        ([SESSION, message(1), end(2)], "Line 4 says that the session has 2 messages, and there are 1"),
        ([SESSION, message(1), end(1, 9)], "Line 4 names 9 as the head"),
        ([SESSION, message(1, memory=[1]), end(1)], "Line 3 names the memory entry 1, and none before it has that number"),
        ([SESSION, message(1, system=1), end(1)], "Line 3 names the system text 1"),
        ([SESSION, message(1, cut=1), end(1)], "Line 3 names the cut 1"),
        ([SESSION, message(1, file=1), end(1)], "Line 3 names the file 1"),
        *(([SESSION, message(1) | {"id": wrong}, end(1)], "Line 3 does not fit at id: expected `int`") for wrong in ("1", -1, 0, 2**31, 10**40, 1.5, True, None)),
        *(([SESSION, message(1), message(2) | {"parent": wrong}, end(2)], "Line 4 does not fit at parent: expected `int") for wrong in ("1", -1, 0, 2**31, 10**40, 1.5, True)),
        ([SESSION, answer(1), response(2), end(1)], "Line 4 is about the answer 2, and does not follow its line"),
        ([SESSION, message(1), response(1), end(1)], "Line 4 is about the answer 1, and does not follow its line"),
        ([SESSION, answer(1), response(1), response(1), end(1)], "Line 5 is about the answer 1, and does not follow its line"),
        ([SESSION, answer(1), message(2), response(1), end(2)], "Line 5 is about the answer 1, and does not follow its line"),
        ([SESSION, response(1), answer(1), end(1)], "Line 3 is about the answer 1, and does not follow its line"),
        ([SESSION, answer(1), response(1, previous=2), end(1)], "Line 4 names 2 as the message before the input"),
        ([SESSION, answer(1), response(1, first_input=2), end(1)], "Line 4 names 2 as the first message of the input"),
        ([SESSION, answer(1), response(1, previous_response=2), end(1)], "Line 4 names 2 as the previous response"),
        ([SESSION, answer(1), response(1, request=[1]), end(1)], "Line 4 does not fit: Expected `object`, got `array`"),
        ([SESSION, answer(1), response(1, request={"a": json.loads("[" * 200 + "]" * 200)}), end(1)], "Line 4 has a request nested more than 100 levels deep"),
        ([SESSION, answer(1), response(1, deleted_at="1066-10-14T12:00:00Z"), end(1)], "Line 4 has the date 1066-10-14"),
        ([SESSION, {"type": "memory", "id": 1, "memory_type": "Fact", "scope": "World", "content": "x", "timestamp": SESSION["created_at"]}], "Line 3 does not fit at scope: invalid enum value 'World'"),
        ([SESSION, message(1, role="robot"), end(1)], "Line 3 does not fit at role: invalid enum value 'robot'"),
        ([SESSION, message(1, content=7), end(1)], "Line 3 does not fit at content: expected `str`, got `int`"),
        ([SESSION, message(1, token_count=2**31), end(1)], "Line 3 does not fit at token_count"),
        ([SESSION, message(1, origin="x" * 33), end(1)], "Line 3 does not fit at origin"),
        ([SESSION, message(1, created_at="1066-10-14T12:00:00Z"), end(1)], "Line 3 has the date 1066-10-14"),
        ([SESSION, message(1, created_at="2025-01-01T00:00:00"), end(1)], "Line 3 does not fit at created_at"),
        ([SESSION, message(1, parts=[{"type": "robot"}]), end(1)], "Line 3 does not fit at [0].type: invalid value 'robot'"),
        ([SESSION, message(1, parts=[{"type": "image", "media": {"url": "rini:9"}}]), end(1)], "Line 3 has an image 'rini:9' in its parts, which is not the message's file"),
        ([SESSION, message(1, parts=[{"type": "opaque", "wire": "x", "value": json.loads("[" * 200 + "]" * 200)}]), end(1)], "Line 3 has parts that are nested more than 100 levels deep"),
        ([SESSION | {"metadata": [1]}, end(0)], "Line 2 does not fit: Expected `object`, got `array`"),
        ([SESSION, {"type": "robot"}], "Line 3 does not fit at type: invalid value 'robot'"),
        ([SESSION, {"type": "data", "base64": "AAAA"}], "Line 3 is data of no file"),
        ([SESSION, {"type": "file", "id": 1, "size": 3}, {"type": "data", "base64": "!"}], "Line 4 is no base64"),
        ([SESSION, {"type": "file", "id": 1, "size": 3}, message(1)], "Line 4 is no data of the file 1, of which 3 bytes are missing"),
        ([SESSION, {"type": "file", "id": 1, "size": 2}, {"type": "data", "base64": "AAAA"}], "Line 4 gives the file 1 more than its 2 bytes"),
        ([SESSION, {"type": "file", "id": 1, "size": 2**30}], "Line 3 is a file of 1073741824 bytes, and the most is 1048576"),
    ],
)  # fmt: skip
def test_a_file_of_rinis_own_is_refused_with_a_sentence(one_house: House, lines: list[Any], sentence: str):
    assert refused(one_house, rini(*lines)).detail.startswith(sentence)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            TWO.replace(b'"version":2', b'"version":3'),
            "Line 1 says version 3 of the format, and this server reads 1 to 2",
        ),
        (TWO.replace(b'"version":2', b'"version":0'), "Line 1 says version 0 of the format"),
        (TWO.replace(b'"version":2', b'"version":"2"'), "Line 1 does not fit at version"),
        (TWO.replace(b"text 2", b"\x00"), "Line 4 is not whole JSON"),
        (TWO.replace(b"\n", b"\n\x00\n"), "Line 2 is not whole JSON"),
        (TWO.replace(b"text 2", "한".encode()).partition(b"\x9c")[0], "Line 4 is not whole JSON"),
        (
            TWO.partition(b"text 2")[0],
            "Line 4 is not whole JSON (Input data was truncated): the file may have been cut",
        ),
        (TWO[:-20], "Line 5 is not whole JSON (Input data was truncated): the file may have been cut"),
        (TWO.replace(b"text 2", b"\xff"), "Line 4 is not UTF-8"),
        (TWO.replace(b'"text 2"', DEEP), "Line 4 does not fit at content"),
        (TWO.replace(b'{"type":"end"', b'{"x":' + DEEP + b',"type":"end"'), "Line 5 is nested too deeply"),
    ],
)
def test_bytes_that_are_no_lines_are_refused(one_house: House, data: bytes, sentence: str):
    assert refused(one_house, data).detail.startswith(sentence)


def test_what_came_before_is_stored_whole_and_named(own_house: House):
    error = refused(
        own_house, TWO + TWO.partition(b"\n")[2] + rini(SESSION, message(1), message(3, 2)).partition(b"\n")[2]
    )
    assert error.detail == (
        "Line 12 names 2 as its parent, and no message before it has that number. 2 sessions were stored before."
    )
    assert error.fields["where"] == "line 12"
    assert len(error.fields["session_ids"]) == own_house.count("sessions") == 2
    assert own_house.count("messages") == 4


def test_a_long_session_that_breaks_leaves_nothing(own_house: House):
    file = {"type": "file", "id": 1, "size": len(picture())}
    data = {"type": "data", "base64": base64.b64encode(picture()).decode()}
    memory = {"type": "memory", "id": 1, "memory_type": "Fact", "content": "x", "timestamp": SESSION["created_at"]}
    path = [message(n, n - 1 or None, file=1) for n in range(1, 701)]
    error = refused(own_house, rini(SESSION, memory, file, data, *path))
    assert error.detail.startswith("Line 705 is the last one, and the session of line 2 has not ended")
    assert own_house.count("message_words") == own_house.count("memory_entries") == 0


@pytest.mark.parametrize(
    ("data", "wanted", "sentence"),
    [
        (TWO, "chatgpt", "The file is Rini's own export, and format says chatgpt"),
        (as_json(ONE), "rini", "The file is not Rini's own export, as format says"),
        (as_json(ONE), "anthropic", "Conversation 1 does not fit: Object missing required field `chat_messages`"),
    ],
)
def test_the_format_that_is_said_must_be_that_of_the_file(one_house: House, data: bytes, wanted: str, sentence: str):
    assert refused(one_house, data, wanted).detail.startswith(sentence)


def test_a_conversation_that_is_too_large_is_not_read(one_house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elements, "LONGEST_BYTES", 3 * elements.CHUNK_BYTES)
    large = chatgpt(node("q", None, "user", "x" * 4 * elements.CHUNK_BYTES))
    assert refused(one_house, as_json(ONE, large)).detail.startswith("Conversation 2 is larger than 3 MiB")


def test_a_conversation_of_too_many_pieces_is_not_read(one_house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elements, "MOST_BRACKETS", 1000)
    many = ONE | {"x": [[]] * 1000}
    assert refused(one_house, as_json(ONE, many)).detail.startswith(
        "Conversation 2 has more than 1,000 objects and lists"
    )
    assert refused(one_house, json.dumps({"conversations": [many]}).encode()).detail.startswith(
        "The file has more than 1,000"
    )


def encrypted() -> bytes:
    data = bytearray(as_zip({"conversations.json": as_json(ONE)}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def lying_directory() -> bytes:
    data = bytearray(as_zip({"conversations.json": as_json(ONE)}))
    end_at = data.index(b"PK\x05\x06")
    data[end_at + 12 : end_at + 16] = struct.pack("<I", 2**31)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (as_zip({}), "The file is an archive without a conversations.json"),
        (as_zip({"a.txt": b"x"}), "The file is an archive without a conversations.json"),
        (as_zip({"conversations.json": as_json(ONE)})[:-30], "The file is no zip archive that can be read"),
        (as_zip({"conversations.json": as_json(ONE)}, zipfile.ZIP_BZIP2), "The file has 'conversations.json' in a compression other than deflate"),
        (encrypted(), "The file has 'conversations.json' in it, which is encrypted or broken"),
        (lying_directory(), "The file is no zip archive that can be read"),
    ],
)  # fmt: skip
def test_archives_are_refused_with_a_sentence(one_house: House, data: bytes, sentence: str):
    assert refused(one_house, data).detail.startswith(sentence)


def test_an_archive_that_unpacks_to_too_much_is_refused(one_house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imports, "UNPACKED_TIMES", 1)
    large = chatgpt(node("q", None, "user", "x" * (MOST_BYTES // 2)))
    assert refused(one_house, as_zip({"conversations.json": as_json(large, large, large)})).detail.startswith(
        f"Conversation 2 unpacks to more than {MOST_BYTES} bytes"
    )


def test_an_archive_that_unpacks_to_too_much_for_its_size_is_refused(one_house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "FREE_BYTES", 100_000)
    bomb = as_zip({"conversations.json": as_json(chatgpt(node("q", None, "user", "x" * 3_000_000)))})
    assert refused(one_house, bomb).detail.startswith("The file is packed more than 200 times")


def test_an_archive_with_a_damaged_file_is_refused(one_house: House):
    data = bytearray(as_zip({"conversations.json": as_json(*[ONE] * 50)}, zipfile.ZIP_STORED))
    place = data.index(b'"x"', 2000)
    data[place + 1] = ord("y")
    assert "encrypted or broken" in refused(one_house, bytes(data)).detail


def test_an_archive_of_very_many_files_is_refused_unread(one_house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "LARGEST_DIRECTORY_BYTES", 70_000)
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as many:
        for number in range(2000):
            many.writestr(f"file-{number}", b"")
    assert refused(one_house, found.getvalue()).detail.startswith("The file is no zip archive that can be read")

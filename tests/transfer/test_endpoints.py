"""Export and import over HTTP, on both databases."""

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Client, Server
from tests.support.things import picture
from tests.transfer.files import SESSION, as_json, as_zip, claude, end, long_session, message, rini, said

NDJSON = "application/x-ndjson"


def sent(user: Client, data: bytes, kind: str = NDJSON, query: str = ""):
    return user.request("POST", f"/sessions/import{query}", raw=data, Content_Type=kind)


def test_a_conversation_comes_back_as_it_went(user: Client):
    session = user.session(alias='여행 "1"', system_prompt="Be brief.", memory_mode="explicit")
    assert user.ask("안녕", session_id=session).status == 200
    looked = user.form("/llm/image-completion/", {"image_file": ("red.png", picture())}, provider="openai", model="gpt-4o", session_id=session, prompt="look")  # fmt: skip
    assert looked.status == 200, looked
    branch = user.get(f"/sessions/{session}/messages/").json[0]["id"]
    user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "or", "parent_message_id": branch})
    user.post(f"/sessions/{session}/memory", {"memory_type": "Fact", "content": "tea", "source_message_ids": [branch]})
    exported = user.get(f"/sessions/{session}/export")
    assert (exported.status, exported.headers["content-type"]) == (200, "application/jsonl")
    assert exported.headers["content-disposition"].endswith("%EC%97%AC%ED%96%89%20%221%22.jsonl")
    kinds = [json.loads(line).get("type") for line in exported.body.splitlines()]
    assert (kinds[:3], kinds[-1]) == ([None, "session", "memory"], "end")
    assert (kinds.count("message"), kinds.count("file"), kinds.count("data")) == (5, 1, 1)
    other = Client(user.url)
    other.token = other.post("/users/").json["access_token"]
    imported = sent(other, exported.body)
    assert imported.status == 201, imported
    (made,) = imported.json["sessions"]
    assert (imported.json["format"], made["messages"], made["left_out"]) == ("rini", 5, [])
    assert other.get(f"/sessions/{made['id']}/export").body == exported.body
    mine, theirs = (
        each.get(f"/sessions/{which}/messages/").json for each, which in ((user, session), (other, made["id"]))
    )
    assert [each["content"] for each in theirs] == [each["content"] for each in mine]
    with_file = [each["id"] for each in theirs if each["file_reference"]]
    assert other.get(f"/messages/{with_file[0]}/file").body == picture()
    # It goes on from where it was.
    assert other.get(f"/sessions/{made['id']}").json["head_message_id"] == theirs[-1]["id"]
    assert other.get("/export").body == exported.body


def test_all_sessions_are_one_file(user: Client):
    assert user.get("/export").body == b'{"format":"rini","version":2}\n'
    for number in range(3):
        session = user.session(alias=str(number))
        user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "x"})
    exported = user.get("/export").body
    imported = sent(user, exported)
    assert [each["alias"] for each in imported.json["sessions"]] == ["0", "1", "2"]
    assert user.get("/sessions/?limit=1").headers["x-total-count"] == "6"


@pytest.mark.parametrize("kind", ["application/zip", "application/octet-stream", "multipart/form-data"])
def test_a_file_is_known_by_what_is_in_it(user: Client, kind: str):
    archive = as_zip({"conversations.json": as_json(claude(said("1", text="hi")))})
    if kind.startswith("multipart"):
        answer = user.form("/sessions/import", {"file": ("export.zip", archive)}, comment="x")
    else:
        answer = sent(user, archive, kind, "?format=anthropic")
    assert (answer.status, answer.json["format"]) == (201, "anthropic"), answer


def test_a_form_without_the_file_is_refused(user: Client):
    answer = user.form("/sessions/import", {"other": ("a", b"x")})
    assert (answer.status, answer.json["detail"]) == (
        422,
        "file: the form has no such field, and the file is to be in it.",
    )
    kind = "multipart/form-data; boundary=x"
    assert sent(user, b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\nhalf", kind).status == 422
    assert sent(user, b"hello", "multipart/form-data").status == 422


def test_a_refusal_says_where_and_what_was_stored(user: Client):
    good = rini(SESSION, message(1), end(1))
    answer = sent(user, good + b"{")
    assert (answer.status, answer.json["code"], answer.json["where"]) == (422, "import_refused", "line 5")
    (kept,) = answer.json["session_ids"]
    assert user.get(f"/sessions/{kept}").status == 200


def test_what_belongs_to_others_is_not_there(user: Client, server: Server):
    session = user.session()
    other = server.user()
    for query in ("", "?format=markdown"):
        assert other.get(f"/sessions/{session}/export{query}").status == 404
    stray = user.post(f"/sessions/{user.session()}/messages/", {"role": "user", "content": "x"}).json["id"]
    assert user.get(f"/sessions/{session}/export?format=markdown&branch={stray}").status == 404
    assert user.get(f"/sessions/{session}/export?branch={stray}").status == 422
    assert user.get(f"/sessions/{session}/export?format=pdf").status == 422
    assert user.get(f"/sessions/{session}/export?branch=some").status == 422
    assert Client(server.url).get("/export").status == 401
    assert sent(Client(server.url), b"x" * 70_000).status == 401


def test_an_import_has_a_limit_of_its_own(new_server: Callable[..., Server], tmp_path: Path):
    server = new_server(RINI_MAX_BODY_BYTES="2000", RINI_MAX_IMPORT_BYTES="20000")
    user = server.user()
    large = rini(SESSION, message(1, content="x" * 10_000), end(1))
    assert sent(user, large).status == 201
    assert user.request("POST", "/sessions/import/", raw=large).status == 201
    refused = sent(user, large * 3)
    assert (refused.status, refused.json["code"]) == (413, "body_too_large")
    assert "more than 20000 bytes" in refused.json["detail"]
    assert "RINI_MAX_IMPORT_BYTES" in refused.json["detail"]
    assert user.post("/sessions/", {"alias": "x" * 3000}).status == 413
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(
        "POST",
        "/sessions/import",
        body=iter([large, large, large]),
        headers={"Authorization": f"Bearer {user.token}"},
        encode_chunked=True,
    )
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "body_too_large")
    connection.close()
    assert not list((tmp_path / "data" / "imports").iterdir())


@pytest.mark.parametrize("kind", [NDJSON, "multipart/form-data; boundary=x"])
def test_a_client_that_leaves_within_the_file_leaves_nothing(user: Client, server: Server, kind: str):
    folder = server.data_dir / "imports"
    file = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' if "x" in kind[-1] else b""
    file += long_session(2000)
    connection = http.client.HTTPConnection(user.url.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/sessions/import")
    connection.putheader("Authorization", f"Bearer {user.token}")
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(len(file) + 1))
    connection.endheaders(file)
    until = time.monotonic() + 10
    while not list(folder.glob("*.upload")) and time.monotonic() < until:
        time.sleep(0.01)
    assert list(folder.glob("*.upload"))
    connection.close()
    while list(folder.glob("*.upload")) and time.monotonic() < until:
        time.sleep(0.01)
    assert not list(folder.iterdir())
    assert user.get("/sessions/").json == []
    assert "Traceback" not in server.logged()


def test_a_user_imports_two_files_at_once_and_no_more(user: Client, server: Server):
    def begun() -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(user.url.removeprefix("http://"), timeout=20)
        connection.putrequest("POST", "/sessions/import")
        connection.putheader("Authorization", f"Bearer {user.token}")
        connection.putheader("Content-Length", str(len(file)))
        connection.endheaders(file[:10])
        return connection

    file = rini(SESSION, message(1), end(1))
    held = [begun(), begun()]
    until = time.monotonic() + 10
    while len(list((server.data_dir / "imports").glob("*.upload"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    refused = sent(user, file)
    assert (refused.status, refused.json["code"], refused.headers["retry-after"]) == (429, "too_many_requests", "10")
    for connection in held:
        connection.send(file[10:])
        assert connection.getresponse().status == 201
        connection.close()
    assert sent(user, file).status == 201


def test_a_large_conversation_comes_in_pieces(user: Client):
    count = 3000
    path = [message(n, n - 1 or None, content=f"{n} " + "안녕 " * 100) for n in range(1, count + 1)]
    file = rini(SESSION, *path, end(count, count))
    imported = sent(user, file)
    assert imported.json["sessions"][0]["messages"] == count
    exported = user.get(f"/sessions/{imported.json['sessions'][0]['id']}/export").body
    assert len(exported.splitlines()) == count + 3
    assert sorted(json.loads(exported.splitlines()[-2])) == sorted(json.loads(file.splitlines()[-2]))

"""Another user's ids, ids that are none, and what a provider's errors may tell."""

import json
import re

import pytest

from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Upstream, openai_chunks, openai_reply

NOBODYS = "00000000-0000-4000-8000-000000000000"
SECRET = "sk-proj-keepThisToYourself0123456789"


def _shown(answer, *ids: object) -> str:
    told = (
        {name: value for name, value in answer.json.items() if name not in ("request_id", "instance")}
        if answer.body
        else {}
    )
    text = json.dumps(told)
    for each in ids:
        text = re.sub(rf"\b{each}\b", "#", text)
    return f"{answer.status} {text}"


def test_what_is_anothers_is_answered_as_what_is_not(server: Server):
    owner, thief = server.user(), server.user()
    theirs, mine = owner.session(), thief.session()
    message = owner.post(f"/sessions/{theirs}/messages/", {"role": "user", "content": "x"}).json["id"]
    key = owner.get("/api-keys/").json[0]["id"]
    gone = 2**40
    pairs = [
        (path.format(own), path.format(missing), own, missing)
        for path, own, missing in (
            ("/sessions/{}", theirs, NOBODYS),
            ("/sessions/{}/messages/", theirs, NOBODYS),
            ("/messages/{}", message, gone),
            ("/messages/{}/history", message, gone),
            ("/api-keys/{}", key, gone),
        )
    ]
    for own, missing, number, nothing in pairs:
        for method, body in (
            ("GET", None),
            ("HEAD", None),
            ("PUT", {}),
            ("POST", {"role": "user", "content": "x"}),
            ("DELETE", None),
        ):
            found, not_found = thief.request(method, own, body), thief.request(method, missing, body)
            assert _shown(found, number) == _shown(not_found, nothing), (method, own)
            assert found.status in (404, 405), (method, own)
    asked = [
        ({"session_id": theirs}, {"session_id": NOBODYS}),
        ({"api_key_id": key}, {"api_key_id": gone}),
        ({"session_id": mine, "parent_message_id": message}, {"session_id": mine, "parent_message_id": gone}),
        ({"session_id": theirs, "parent_message_id": message}, {"session_id": NOBODYS, "parent_message_id": message}),
    ]
    for own, missing in asked:
        found, not_found = thief.ask(**own), thief.ask(**missing)
        assert _shown(found, message, key) == _shown(not_found, gone, message, key), own
        assert found.status in (404, 422), own
    assert owner.get(f"/messages/{message}").status == 200


@pytest.mark.parametrize("parent", [True, "1", 1.0, 1.5, -1, 0, 2**63, 1e30])
def test_a_parent_is_a_whole_number(user: Client, parent: object):
    session = user.session()
    user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "x"})
    body = {"role": "user", "content": "y", "parent_message_id": parent}
    assert user.post(f"/sessions/{session}/messages/", body).status == 422


def test_a_text_that_is_too_long_is_told_in_characters(user: Client):
    answer = user.post("/api-keys/", {"model_provider": "openai", "api_key_value": "k", "description": "d" * 2001})
    assert (answer.status, answer.json["detail"]) == (422, "description: string should have at most 2000 characters.")


def test_an_unknown_provider_of_a_megabyte_is_not_sent_back(user: Client):
    answer = user.ask(provider="p" * 1_000_000)
    assert answer.status == 422
    assert len(answer.body) < 1000


@pytest.mark.parametrize("name", ["openai", "anthropic", "google"])
def test_any_depth_of_a_parameter_is_answered(server: Server, upstream: Upstream, name: str):
    async def refuse(conversation: Conversation) -> None:
        await conversation.whole({"error": {"message": "no"}}, 400)

    user = server.user(provider=name)
    upstream.scripts[user.provider_key] = refuse
    field = {"openai": "metadata", "anthropic": "metadata", "google": "labels"}[name]
    body = json.dumps({"text": "a", "provider": name, "model": "m", "llm_params": {field: {"a": "@"}}})
    for depth in range(930, 1000):
        raw = body.replace('"@"', "[" * depth + "]" * depth).encode()
        assert user.request("POST", "/llm/text-completion/", raw=raw).status == 422, depth


def _quoting(status: int) -> Script:
    async def quote(conversation: Conversation) -> None:
        key = conversation.seen.headers["authorization"]
        error = {
            "message": f"no {key}: {json.dumps(conversation.seen.headers)}",
            "code": key,
            "type": key,
            "param": key,
        }
        await conversation.whole({"error": error}, status, x_key=key, www_authenticate=key)

    return quote


async def _quoting_in_the_middle(conversation: Conversation) -> None:
    key = conversation.seen.headers["authorization"]
    if not conversation.seen.json.get("stream"):
        await conversation.whole(f"oops {key}".encode(), 500, "text/plain")
        return
    await conversation.head()
    await conversation.chunk(openai_chunks("ANSWERED", finish=None)[1])
    await conversation.chunk(f"data: {json.dumps({'error': {'message': key, 'code': key}})}\n\n")
    await conversation.end()


async def _answering(conversation: Conversation) -> None:
    await conversation.whole(openai_reply("ANSWERED"))


def test_no_error_tells_a_key_and_no_log_a_prompt(new_server, upstream: Upstream):
    server: Server = new_server(RINI_LOG_LEVEL="debug")
    user = server.user(key=SECRET)
    session = user.session(system_prompt="INSTRUCTED")
    told = ""
    for script in (*map(_quoting, (302, 400, 401, 403, 429, 500, 503)), _quoting_in_the_middle, _answering):
        upstream.scripts[SECRET] = script
        for fields in ({}, {"session_id": session}):
            whole = user.ask("ASKED", **fields)
            told += f"{whole.headers}{whole.body!r}"
            with user.open_stream("ASKED", **fields) as stream:
                told += f"{stream.headers}{stream.rest()!r}"
    assert "***" in told
    told += user.get("/metrics").body.decode()
    assert SECRET not in told
    server.stop()
    log = server.logged()
    for hidden in (SECRET, str(user.token), "INSTRUCTED", "ASKED", "ANSWERED"):
        assert hidden not in log
    for file in server.data_dir.rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes(), file

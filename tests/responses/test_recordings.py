"""Every recorded response of OpenAI's, asked for once more and stored: it is answered, streamed and read later as the specification says."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.dialects.recordings import OPENAI_RESPONSES, Call, Played, Player, answering, as_json, named, recorded
from tests.support.server import Server
from tests.support.upstream import Upstream
from tests.wire.openai_responses import spec
from tests.wire.recordings import ABSENT, present

pytestmark = pytest.mark.skipif(not present() or spec.file() is None, reason=ABSENT)

STATE = ("previous_response_id", "conversation", "background")


@pytest.fixture(scope="module")
def player(shared_server: Callable[..., Server], upstream: Upstream) -> Player:
    return Player(shared_server(RINI_LOG_LEVEL="error"), upstream)


def calls() -> Iterator[Call]:
    for each in recorded(OPENAI_RESPONSES):
        body = each.request["body"]
        if not body or each.status >= 400 or any(body.get(name) for name in STATE):
            continue
        if any(item.get("type") == "item_reference" for item in body.get("input") or () if isinstance(item, dict)):
            continue  # to items that OpenAI has
        sent = {**body, "model": named(each.model or OPENAI_RESPONSES.model, OPENAI_RESPONSES), "store": True}
        yield Call("/v1/responses", as_json(sent), answering(each, each.response_bytes), about=each)


def wrong(player: Player, played: Played) -> str | None:
    if played.status != 200:
        return f"{played.status} {played.body[:300]!r}"
    shown: Any
    if played.call.about.stream:
        events = spec.events_in(played.body)
        faults = [fault for event in events for fault in spec.event_faults(event)]
        shown = events[-1]["response"]
    else:
        shown = json.loads(played.body)
        faults = spec.faults("Response", shown)
    if faults and b"web_search_call" not in played.body:  # OpenAI's own searches are not as it specifies them
        return f"{faults[:3]}"
    if shown["status"] == "failed":
        return None  # nothing may have come of it
    included = played.call.about.request["body"].get("include") or ()
    query = "?include[]=reasoning.encrypted_content" if "reasoning.encrypted_content" in included else ""
    reads = [user.get(f"/v1/responses/{shown['id']}{query}") for user in player.users]
    read = next((each for each in reads if each.status == 200), reads[0])
    if read.status != 200:
        return f"read: {read.status}"
    different = {
        name: (shown.get(name), read.json.get(name))
        for name in {*shown, *read.json} - {"completed_at"}
        if shown.get(name) != read.json.get(name)
    }
    return f"read: {different}"[:600] if different else None


def test_recorded_responses_are_stored_and_read(player: Player):
    played = player.play(calls())
    found = {each.call.about.path: fault for each in played if (fault := wrong(player, each)) is not None}
    assert len(played) > 200
    assert found == {}

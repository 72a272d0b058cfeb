"""Traces, as a collector gets them from `rini serve`."""

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from rini.settings import SettingsError
from rini.telemetry import conventions, traces
from tests.support.collector import Collector
from tests.support.ledger import wait_for_rows
from tests.support.server import ROOT, Server, clean_environment
from tests.support.upstream import Conversation, Upstream, openai_chunks, openai_reply

SERVER, CLIENT, INTERNAL = 2, 3, 1
OK, ERROR = 0, 2
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector():
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory, upstream: Upstream, collector: Collector):
    settings = {"RINI_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    running = Server(tmp_path_factory.mktemp("server"), settings, upstream.url).start()
    yield running
    running.stop()


def logged(server, name):
    found = [json.loads(line) for line in server.logged().splitlines() if line.startswith("{")]
    return [each for each in found if each["event"] == name]


USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 9,
    "total_tokens": 49,
    "prompt_tokens_details": {"cached_tokens": 32},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_a_span_below_its_request(server: Server, upstream, collector, stream):
    user = server.user()

    async def script(conversation: Conversation) -> None:
        if not stream:
            await conversation.whole(openai_reply("the-answer", usage=USAGE))
            return
        await conversation.head()
        for event in openai_chunks("the-", "answer", usage=USAGE):
            await conversation.chunk(event)
        await conversation.end()

    upstream.scripts[user.provider_key] = script
    session = user.session()
    body = {"text": "the-question", "provider": "openai", "model": "gpt-test", "session_id": session, "stream": stream}
    answer = user.request(
        "POST",
        "/llm/text-completion/",
        body,
        traceparent=f"00-{TRACE}-{PARENT}-01",
        x_request_id=f"traced-{stream}",
    )
    assert answer.status == 200, answer
    (row,) = wait_for_rows(server, 1, session_id=session)
    (call,) = collector.wait_for(1, rini_call_id=row["call_id"])
    (request,) = collector.wait_for(1, rini_request_id=f"traced-{stream}")

    assert (request.name, request.kind, request.status) == ("POST /llm/text-completion/", SERVER, OK)
    assert (request.trace_id, request.parent_id) == (TRACE, PARENT)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/llm/text-completion/",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "user.id": user.get("/users/me").json["id"],
        "rini.request_id": f"traced-{stream}",
    }
    assert (call.name, call.kind, call.status) == ("chat gpt-test", CLIENT, OK)
    assert (call.trace_id, call.parent_id) == (TRACE, request.span_id)
    waited = call.attributes.pop("gen_ai.response.time_to_first_chunk", None)
    assert (waited is not None and 0 < waited < 60) if stream else waited is None
    assert call.attributes.pop("gen_ai.request.stream", False) is stream
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-test",
        "gen_ai.response.model": "gpt-test-1",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 40,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.cache_read.input_tokens": 32,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.conversation.id": session,
        "server.address": "127.0.0.1",
        "server.port": upstream.port,
        "rini.call_id": row["call_id"],
    }
    assert call.schema == conventions.CONVENTIONS
    assert call.resource["service.name"] == "rini"
    assert call.resource["process.pid"] == server.process.pid
    (line,) = [each for each in logged(server, "request") if each["request_id"] == f"traced-{stream}"]
    assert line["trace_id"] == TRACE
    # The provider is told nothing of it, and a collector nothing that was said.
    assert "traceparent" not in upstream.calls(user.provider_key)[0].headers
    for secret in ("the-question", "the-answer", user.provider_key, user.token):
        assert secret.encode() not in collector.raw


@pytest.mark.parametrize(
    ("provider", "named"), [("anthropic", "anthropic"), ("google", "gcp.gemini"), ("openai", "openai")]
)
def test_a_refused_call_has_the_code_and_the_conventions_name_of_its_provider(
    server: Server, upstream, collector, provider, named
):
    user = server.user(provider=provider)

    async def script(conversation: Conversation) -> None:
        await conversation.whole({"error": {"message": "the-reason", "type": "authentication_error"}}, 401)

    upstream.scripts[user.provider_key] = script
    assert user.ask(provider=provider, model=f"model-of-{provider}").status == 401
    (call,) = collector.wait_for(1, gen_ai_request_model=f"model-of-{provider}")
    assert (call.name, call.status, call.message) == (f"chat model-of-{provider}", ERROR, "")
    assert call.attributes["gen_ai.provider.name"] == named
    assert call.attributes["error.type"] == "provider_key_refused"
    assert b"the-reason" not in collector.raw


def test_an_answer_whose_client_left_is_told_as_such(server: Server, upstream, collector):
    user = server.user()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.chunk(openai_chunks("begun")[1])
        await conversation.until_left()

    upstream.scripts[user.provider_key] = script
    with user.open_stream(model="model-left") as reader:
        next(iter(reader))
    (call,) = collector.wait_for(1, gen_ai_request_model="model-left")
    assert (call.status, call.attributes["error.type"]) == (ERROR, "client_left")


def test_paths_that_fit_no_route_are_not_told(server: Server, collector):
    user = server.user()
    answer = user.request("GET", "/nowhere/secret-name?key=secret-query", x_request_id="unmatched")
    assert answer.status == 404
    (span,) = collector.wait_for(1, rini_request_id="unmatched")
    assert span.name == "GET"
    assert span.attributes["http.response.status_code"] == 404
    assert "http.route" not in span.attributes
    assert re.fullmatch("[0-9a-f]{32}", span.trace_id)
    assert span.parent_id == ""
    assert b"secret-" not in collector.raw


def test_templates_are_told_and_not_paths(server: Server, collector):
    user = server.user()
    session = user.session()
    user.request("GET", f"/sessions/{session}", x_request_id="template")
    (span,) = collector.wait_for(1, rini_request_id="template")
    assert (span.name, span.attributes["http.route"]) == ("GET /sessions/{session_id}", "/sessions/{session_id}")


def test_a_request_that_fails_by_a_fault_of_the_server_is_an_error(collector):
    async def main():
        async with traces.Tracing(collector.url):
            span = traces.active.request("BREW", "http", [(b"traceparent", b"00-nonsense")])
            span.end("/x", 503, request_id="failed", user_id=None)

    asyncio.run(main())
    (span,) = collector.find(rini_request_id="failed")
    assert (span.name, span.status) == ("_OTHER /x", ERROR)
    assert span.attributes["error.type"] == "503"


def test_health_checks_are_no_spans(server: Server, collector):
    for path in ("/healthz", "/readyz", "/metrics"):
        urllib.request.urlopen(server.url + path).close()
    server.user().request("GET", "/", x_request_id="after-health")
    collector.wait_for(1, rini_request_id="after-health")
    routes = {span.attributes.get("http.route") for span in collector.spans}
    assert not routes & {"/healthz", "/readyz", "/metrics"}


def test_a_tool_that_is_executed_is_a_span_below_its_request(collector):
    async def main():
        assert traces.tool_call("off") is None
        async with traces.Tracing(collector.url):
            request = traces.active.request("POST", "http", [])
            traces.tool_call("search", "call-1").end(error="tool_server_failed")
            request.end("/x", 200, request_id="with-tool", user_id=1)
            traces.model_call("embeddings", "openai", "embed-test", "https://example.test/v1").end()
        assert traces.active is None

    asyncio.run(main())
    (request,) = collector.find(rini_request_id="with-tool")
    (tool,) = collector.find(gen_ai_tool_name="search")
    assert (tool.name, tool.kind, tool.parent_id) == ("execute_tool search", INTERNAL, request.span_id)
    assert tool.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "call-1",
        "error.type": "tool_server_failed",
    }
    (embedding,) = collector.find(gen_ai_request_model="embed-test")
    assert (embedding.name, embedding.parent_id) == ("embeddings embed-test", "")
    assert (embedding.attributes["server.address"], embedding.attributes["server.port"]) == ("example.test", 443)


def test_every_worker_sends_its_own_and_what_is_left_at_the_end(new_server, collector):
    server = new_server("--workers", "2", RINI_OTLP_ENDPOINT=f"{collector.url}/v1/traces/")
    user = server.user()
    ids = [f"worker-{number}" for number in range(20)]
    for each in ids:
        user.request("GET", "/users/me", x_request_id=each)
    # The SDK sends every five seconds: what is not there yet comes because the server ends.
    assert server.stop() == 0
    spans = [span for each in ids for span in collector.find(rini_request_id=each)]
    assert len(spans) == len(ids)
    assert server.process.pid not in {span.resource["process.pid"] for span in spans}


def test_a_collector_that_is_down_costs_a_line_and_no_request(new_server):
    server = new_server(RINI_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY="20")
    user = server.user()
    until = time.monotonic() + 10
    while not logged(server, "traces_not_sent") and time.monotonic() < until:
        assert user.ask().status == 200
    for _ in range(20):
        assert user.ask().status == 200
    began = time.monotonic()
    assert server.stop(15) == 0
    assert time.monotonic() - began < 10
    (line,) = logged(server, "traces_not_sent")
    assert line["level"] == "warning"
    assert "127.0.0.1" in line["reason"]
    assert not [each for each in logged(server, "library") if "opentelemetry" in each["module"]]


def serve(tmp_path, *before, **settings):
    """Run `rini serve`, after the statements ``before``, and return its status and what it said."""
    statements = [*before, "from rini.cli.main import main", "sys.exit(main(['serve', '--port', '0']))"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["import sys", *statements])],
        env=clean_environment(RINI_DATA_DIR=str(tmp_path), RINI_LOCAL_MODEL="off", **settings),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_an_endpoint_without_the_extra_is_refused(tmp_path):
    status, said = serve(tmp_path, "sys.modules['opentelemetry.sdk'] = None", RINI_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert status != 0
    assert "rini[traces]" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "grpc://x:4317", "http://", "http://[::1", "http://x:y"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint):
    with pytest.raises(SettingsError, match="RINI_OTLP_ENDPOINT"):
        traces.Tracing(endpoint)


def test_without_an_endpoint_nothing_of_the_sdk_is_loaded(tmp_path):
    script = """
import sys
from rini.app import create_app
from rini.settings import load_settings
create_app(load_settings())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "requests"))])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(RINI_DATA_DIR=str(tmp_path), RINI_LOCAL_MODEL="off"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "[]\n"


def names():
    """Return the names of all attributes."""
    found = {name: value for name, value in vars(conventions).items() if name.isupper() and name[0] != "_"}
    return set(found.values()) - {conventions.CONVENTIONS}


def test_the_page_has_every_attribute():
    page = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")
    assert names() == set(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE))
    assert conventions.CONVENTIONS.rpartition("/")[2] in page


def test_the_names_are_those_of_the_conventions():
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, server_attributes, user_attributes
    from opentelemetry.semconv.attributes import error_attributes, http_attributes, url_attributes

    known = {
        value
        for module in (
            gen_ai_attributes,
            server_attributes,
            user_attributes,
            error_attributes,
            http_attributes,
            url_attributes,
        )
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    assert {name for name in names() - known if not name.startswith("rini.")} == set()

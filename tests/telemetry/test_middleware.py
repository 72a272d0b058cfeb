import asyncio
import time

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from rini.telemetry import logs, metrics
from rini.telemetry.middleware import RequestContext, new_request_id


class Route:
    path_format = "/things/{id}"


async def call(app, *, headers=(), method="GET", path="/", receive=None):
    """Ask ``app`` as a server does, and return the messages that it sent."""
    sent = []

    async def nothing():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "headers": list(headers),
    }
    await app(scope, receive or nothing, send)
    return sent, scope


def ask(app, **options):
    return asyncio.run(call(app, **options))


async def plain(scope, receive, send):
    scope["route"] = Route
    await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"done"})


def value(name, **labels):
    return metrics._registry.get_sample_value(name, {key: str(label) for key, label in labels.items()}) or 0


def id_sent(sent):
    return [content.decode() for name, content in sent[0]["headers"] if name == b"x-request-id"]


@pytest.mark.parametrize("given", ["a", "A-1_b.c", "x" * 128, "0123456789abcdef"])
def test_a_good_id_of_the_client_is_kept(logged, given):
    sent, scope = ask(RequestContext(plain), headers=[(b"x-request-id", given.encode())])
    assert id_sent(sent) == [given] == [scope["rini.request_id"]]
    assert logged.events()[-1]["request_id"] == given


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"a\nb", b"a/b", "é".encode(), b"\xff", b'a"b', b"a\x00"])
def test_another_is_replaced(logged, given):
    sent, scope = ask(RequestContext(plain), headers=[(b"x-request-id", given)])
    (made,) = id_sent(sent)
    assert made == scope["rini.request_id"]
    assert len(made) == 32
    assert int(made, 16)


def test_new_ids_are_unique_and_in_order_of_time():
    ids = [new_request_id() for _ in range(1000)]
    time.sleep(0.002)
    assert len(set(ids)) == 1000
    assert new_request_id() > max(ids)


def test_one_line_and_one_count_for_each_request(logged):
    labels = {"method": "GET", "route": "/things/{id}", "status": 201}
    before = value("rini_http_requests_total", **labels)
    timed = value("rini_http_request_seconds_count", route="/things/{id}")
    sent, _ = ask(RequestContext(plain), path="/things/7")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert (b"a", b"b") in sent[0]["headers"]
    (event,) = logged.events()
    assert {name: event[name] for name in ("event", "method", "route", "status")} == {"event": "request", **labels}
    assert 0 <= event["ms"] < 1000
    assert "user_id" not in event
    assert "complete" not in event
    assert value("rini_http_requests_total", **labels) == before + 1
    assert value("rini_http_request_seconds_count", route="/things/{id}") == timed + 1
    assert value("rini_http_requests_in_flight") == 0


def test_the_answers_own_headers_are_left_as_they_are(logged):
    response = PlainTextResponse("always the same object")
    before = list(response.raw_headers)

    async def app(scope, receive, send):
        await response(scope, receive, send)

    ask(RequestContext(app))
    ask(RequestContext(app))
    assert response.raw_headers == before


def test_the_user_is_named_once_known(logged):
    async def app(scope, receive, send):
        scope["rini.user_id"] = 7
        await plain(scope, receive, send)

    ask(RequestContext(app))
    assert logged.events()[0]["user_id"] == 7


def test_a_method_that_nobody_knows_makes_no_series(logged):
    before = value("rini_http_requests_total", method="other", route="/things/{id}", status=201)
    kept = len(metrics._request_adds)
    for number in range(3):
        ask(RequestContext(plain), method=f"FOO{number}")
    assert value("rini_http_requests_total", method="other", route="/things/{id}", status=201) == before + 3
    assert b"FOO1" not in metrics.render()[0]
    assert len(metrics._request_adds) <= kept


def fastapi_app():
    app = FastAPI()
    router = APIRouter(prefix="/inner")

    @router.get("/{name}")
    def inner(name: str):
        return name

    @app.get("/direct/{name}")
    async def direct(name: str):
        return name

    @app.get("/break")
    def broken():
        raise ValueError("broken on purpose")

    @app.get("/healthz")
    def health():
        return "ok"

    @app.get("/readyz")
    def ready():
        return PlainTextResponse("no", 503)

    @app.get("/stream")
    async def stream():
        async def parts():
            for number in range(3):
                yield f"{number}"

        return StreamingResponse(parts())

    @app.get("/log")
    def log(request: Request):
        logs.get_logger("feature").info("inside")
        return request.scope["rini.request_id"]

    @app.exception_handler(Exception)
    def failed(request, error):
        return PlainTextResponse("own page", 500)

    app.include_router(router, prefix="/outer")
    return RequestContext(app)


@pytest.mark.parametrize(
    ("path", "method", "route", "status"),
    [
        ("/outer/inner/secret-name", "GET", "/outer/inner/{name}", 200),
        ("/outer/inner/secret-name", "POST", "/outer/inner/{name}", 405),
        ("/direct/secret-name", "GET", "/direct/{name}", 200),
        ("/direct/secret-name", "POST", "/direct/{name}", 405),
        ("/nowhere/secret-name", "GET", "unmatched", 404),
        ("/outer/inner", "GET", "unmatched", 404),
        ("/outer/inner/secret-name/more", "GET", "unmatched", 404),
    ],
)
def test_the_route_is_the_template_and_never_the_path(logged, path, method, route, status):
    ask(fastapi_app(), path=path, method=method)
    assert [(e["route"], e["status"]) for e in logged.events()] == [(route, status)]
    assert b"secret-name" not in logged.getvalue()
    assert b"secret-name" not in metrics.render()[0]


def test_events_of_a_plain_def_endpoint_have_the_id(logged):
    ask(fastapi_app(), path="/log", headers=[(b"x-request-id", b"mine")])
    assert [(e["event"], e["request_id"]) for e in logged.events()] == [("inside", "mine"), ("request", "mine")]


def test_healthy_health_checks_are_not_logged_and_sick_ones_are(logged):
    ask(fastapi_app(), path="/healthz")
    assert logged.events() == []
    ask(fastapi_app(), path="/readyz")
    assert [(e["route"], e["status"]) for e in logged.events()] == [("/readyz", 503)]


def test_an_exception_that_the_application_answers_is_logged_once(logged):
    sent, scope = ask(fastapi_app(), path="/break")
    assert sent[0]["status"] == 500
    assert sent[1]["body"] == b"own page"
    assert id_sent(sent) == [scope["rini.request_id"]]
    failed, line = logged.events()
    assert failed["event"] == "request_failed"
    assert failed["exception"][0]["message"] == "broken on purpose"
    assert failed["request_id"] == line["request_id"]
    assert (line["event"], line["status"], line["route"]) == ("request", 500, "/break")


def test_an_exception_that_nobody_answers_becomes_a_500(logged):
    async def app(scope, receive, send):
        raise ValueError("hidden from clients")

    before = value("rini_http_requests_total", method="GET", route="unmatched", status=500)
    sent, scope = ask(RequestContext(app))
    assert sent[0]["status"] == 500
    assert id_sent(sent) == [scope["rini.request_id"]]
    assert scope["rini.request_id"].encode() in sent[1]["body"]
    assert b"hidden" not in sent[1]["body"]
    assert [e["event"] for e in logged.events()] == ["request_failed", "request"]
    assert value("rini_http_requests_total", method="GET", route="unmatched", status=500) == before + 1
    assert value("rini_http_requests_in_flight") == 0


def test_an_exception_in_the_middle_of_an_answer_sends_nothing_more(logged):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError

    sent, _ = ask(RequestContext(app))
    assert len(sent) == 2
    failed, line = logged.events()
    assert failed["event"] == "request_failed"
    assert (line["status"], line["complete"]) == (200, False)


def test_a_stream_passes_piece_by_piece(logged):
    seen = []

    async def run():
        go_on = asyncio.Event()

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for number in range(3):
                await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
                await go_on.wait()
                go_on.clear()
            await send({"type": "http.response.body", "body": b""})

        async def send(message):
            seen.append(message.get("body"))
            go_on.set()

        await RequestContext(app)({"type": "http", "method": "GET", "headers": []}, None, send)

    asyncio.run(asyncio.wait_for(run(), 5))
    assert seen == [None, b"0", b"1", b"2", b""]
    assert logged.events()[0]["status"] == 200


@pytest.mark.parametrize("error", [ClientDisconnect, asyncio.CancelledError])
def test_a_client_that_left_before_the_answer_is_no_error(logged, error):
    async def app(scope, receive, send):
        raise error

    if error is asyncio.CancelledError:
        with pytest.raises(asyncio.CancelledError):
            ask(RequestContext(app))
    else:
        ask(RequestContext(app))
    (line,) = logged.events()
    assert (line["event"], line["status"], line["complete"]) == ("request", 499, False)
    assert value("rini_http_requests_in_flight") == 0


def test_a_failing_network_inside_the_application_is_an_error(logged):
    async def app(scope, receive, send):
        raise ConnectionRefusedError("the database is down")

    sent, _ = ask(RequestContext(app))
    assert sent[0]["status"] == 500
    assert logged.events()[0]["event"] == "request_failed"


def test_other_scopes_pass_untouched(logged):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    for kind in ("websocket", "lifespan"):
        scope = {"type": kind}
        asyncio.run(RequestContext(app)(scope, "receive", "send"))
        assert seen.pop() == ({"type": kind}, "receive", "send")
    assert logged.events() == []


def test_the_id_ends_with_its_request(logged):
    async def run():
        await call(RequestContext(plain))
        assert logs.request_id.get() is None

    asyncio.run(run())


def test_a_request_costs_little(logged):
    async def receive():
        pass

    async def send(message):
        pass

    async def measure(app, count=2000):
        begun = time.process_time()
        for _ in range(count):
            await app({"type": "http", "method": "GET", "headers": [(b"host", b"x")] * 8}, receive, send)
        return (time.process_time() - begun) / count

    asyncio.run(measure(plain, 100))
    cost = asyncio.run(measure(RequestContext(plain))) - asyncio.run(measure(plain))
    assert cost < 100e-6  # 11 µs on a quiet machine

"""Which endpoint a path is, and what a pattern's name holds."""

import asyncio

import pytest

from rini.api.routes import LeanRoutes, Route
from rini.errors import InvalidRequestError


def endpoint(name):
    async def answer(scope, _receive, send):
        held = scope.get("path_params", {}).get("model", "")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"{name} {held}".strip().encode()})

    return answer


async def refusing(_scope, _receive, _send):
    raise InvalidRequestError("no")


ROUTES = LeanRoutes(
    [
        Route("/exact/", endpoint("exact")),
        Route("/v1/models/{model}", endpoint("model"), "GET"),
        Route("/v1/models/{model}:count", endpoint("count"), also=("/v1/{model}:count",)),
        Route("/broken", refusing),
    ],
    endpoint("others"),
)


def asked(path, method="POST"):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "server": ("x", 1)}
    asyncio.run(ROUTES(scope, None, send))
    route = scope.get("route")
    return sent[0]["status"], sent[1]["body"].decode(), route.path_format if route else None


@pytest.mark.parametrize(
    ("path", "method", "found"),
    [
        ("/exact", "POST", ("exact", "/exact/")),
        ("/exact/", "POST", ("exact", "/exact/")),
        ("/v1/models/a", "GET", ("model a", "/v1/models/{model}")),
        ("/v1/models/a/b:c", "GET", ("model a/b:c", "/v1/models/{model}")),
        ("/v1/models/a/b:count", "POST", ("count a/b", "/v1/models/{model}:count")),
        ("/v1/openai/gpt:count", "POST", ("count openai/gpt", "/v1/models/{model}:count")),
        ("/v1/models/a:count:count", "POST", ("count a:count", "/v1/models/{model}:count")),
        ("/v1/:count", "POST", ("others", None)),
        ("/elsewhere", "POST", ("others", None)),
    ],
)
def test_the_longest_pattern_counts(path, method, found):
    status, body, route = asked(path, method)
    assert (status, (body, route)) == (200, found)


def test_another_method_is_told_which_there_is():
    status, body, route = asked("/v1/models/a", "DELETE")
    assert status == 405
    assert "takes GET, not DELETE" in body
    assert route == "/v1/models/{model}"


def test_an_endpoints_error_is_rendered():
    assert asked("/broken")[0] == 422

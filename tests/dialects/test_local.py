"""Each SDK before the model in the box."""

from collections.abc import Callable, Iterator

import pytest

from rini.providers.local import LocalModelUnavailableError
from rini.providers.local.installation import find_weights
from tests.support.dialects import DIALECTS, SDK_ERRORS, Clients, raised_by
from tests.support.dialects_features import asking, tools
from tests.support.server import Server

MODEL = "local/smollm2-135m-instruct"


def absent() -> str | None:
    try:
        find_weights(None)
    except LocalModelUnavailableError as error:
        return str(error)
    return None


ABSENT = absent()
pytestmark = pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))


@pytest.fixture(scope="module")
def clients(shared_server: Callable[..., Server]) -> Iterator[Clients]:
    server = shared_server(RINI_LOCAL_MODEL="on_demand")
    user = server.user()
    assert user.token is not None
    made = Clients(server.url, user.token)
    yield made
    made.close()


LIMITED = asking(
    {"max_completion_tokens": 6}, {"max_output_tokens": 6}, {"max_tokens": 6}, {"config": {"max_output_tokens": 6}}
)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_answers(clients: Clients, dialect: str):
    for stream in (False, True):
        got = clients.ask(dialect, MODEL, LIMITED[dialect], stream=stream)
        assert got.text
        assert 0 < got.tokens.output <= 6
        assert got.tokens.input > 0
    assert got.pieces > 1
    assert clients.ask(dialect, MODEL.removeprefix("local/"), LIMITED[dialect]).text, "its bare name will do"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_calls_no_tools_and_says_so(clients: Clients, dialect: str):
    with pytest.raises(SDK_ERRORS) as found:
        clients.ask(dialect, MODEL, tools({}, {}, {}, {})[dialect])
    raised = raised_by(found.value, clients.headers)
    assert (raised.status, raised.headers["x-rini-code"]) == (422, "unsupported_parameter")
    assert "tools" in raised.message

import asyncio
import logging
import time
import uuid
import warnings
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from pathlib import Path

import pytest

from rini.telemetry import logs

OPENAI = "sk-proj-abcDEF0123456789_abcdef"
ANTHROPIC = "sk-ant-api03-abcdefghijklmnop-qrst_uv"
GOOGLE = "AIzaSyA1234567890abcdefghijklmnopqrstu"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_"
ACCESS_TOKEN = "rini_Zk3-abcdefghijklmnopqrstuvwxyz_0123456789ABCDE"
SECRETS = [OPENAI, ANTHROPIC, GOOGLE, JWT, ACCESS_TOKEN]
log = logs.get_logger("test")


def test_an_event_has_time_level_name_and_fields_in_this_order(logged):
    log.info("saved", rows=3, ratio=0.5, text="한글", none=None, yes=True)
    (event,) = logged.events()
    assert list(event)[:3] == ["timestamp", "level", "event"]
    moment = datetime.fromisoformat(event.pop("timestamp"))
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 5
    assert event == {
        "level": "info",
        "event": "saved",
        "module": "test",
        "rows": 3,
        "ratio": 0.5,
        "text": "한글",
        "none": None,
        "yes": True,
    }


def test_the_clock_moves_on(logged, monkeypatch):
    for second in (1_700_000_000, 1_700_000_001):
        monkeypatch.setattr(time, "time_ns", lambda second=second: second * 10**9 + 7_000_000)
        log.info("tick")
    assert [e["timestamp"] for e in logged.events()] == ["2023-11-14T22:13:20.007Z", "2023-11-14T22:13:21.007Z"]


def test_the_level_holds(logged):
    log.debug("unseen")
    log.warning("seen")
    assert [(e["event"], e["level"]) for e in logged.events()] == [("seen", "warning")]


def test_the_request_id_is_in_every_event_of_its_task_and_in_no_other(logged):
    async def request(name):
        logs.request_id.set(name)
        await asyncio.sleep(0)
        log.info("first")
        await asyncio.to_thread(log.info, "second")

    async def both():
        await asyncio.gather(request("a"), request("b"))

    asyncio.run(both())
    log.info("outside")
    seen = [(e["event"], e.get("request_id")) for e in logged.events()]
    assert sorted(seen, key=str) == [
        ("first", "a"),
        ("first", "b"),
        ("outside", None),
        ("second", "a"),
        ("second", "b"),
    ]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_wherever_it_stands(logged, form, secret):
    logs.configure_logs(form, "info", stream=logged)
    log.info("x", text=f"the key {secret} is bad")
    log.info("x", text=f"\n{secret}\t")
    log.info("x", url=f"http://host/v1?key={secret}&a=1")
    log.info("x", nested={"a": [{"b": (secret, 1)}]})
    log.info("x", raw=secret.encode(), error=ValueError(secret), thing=Holder(secret))
    log.info("name with %s", secret)
    log.info("x", text=f"Authorization: Bearer {secret}")
    logging.getLogger("library").warning("called with %s", secret)
    try:
        try:
            raise ValueError(f"inner {secret}")
        except ValueError as inner:
            raise ExceptionGroup(f"outer {secret}", [KeyError(secret)]) from inner
    except ExceptionGroup:
        log.exception("broke")
    assert logged.getvalue().count(b"***") >= 10
    assert secret.encode() not in logged.getvalue()
    assert secret[-8:].encode() not in logged.getvalue()


class Holder:
    def __init__(self, secret):
        self.secret = secret

    def __repr__(self):
        return f"Holder(secret={self.secret!r})"


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "proxy-authorization",
        "api_key",
        "apiKey",
        "x-api-key",
        "x-goog-api-key",
        "token",
        "access_token",
        "accessToken",
        "secret",
        "client_secret",
        "password",
        "cookie",
        "set-cookie",
        "jwt_secret_key",
    ],
)
def test_fields_with_a_secret_name_are_masked_at_any_depth(logged, name):
    log.info("x", **{name: "short"})
    log.info("x", headers={name: "short"})
    log.info("x", headers=[(name.encode(), b"short")])
    log.info("x", **{name: {"value": "short"}})
    assert b"short" not in logged.getvalue()
    assert len(logged.events()) == 4


@pytest.mark.parametrize("name", ["input_tokens", "max_tokens", "tokens", "tokenizer", "keys", "api_key_id", "status"])
def test_other_fields_are_not(logged, name):
    log.info("x", **{name: 123})
    assert logged.events()[0][name] == 123


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://rini:hunter2@db/rini", "hunter2"),
        ("Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpw"),
        ("bearer abcdefghijkl", "abcdefghijkl"),
    ],
)
def test_passwords_in_addresses_and_headers_are_masked(logged, text, left):
    log.info("x", text=text)
    assert left.encode() not in logged.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "task-completed-successfully-again",
        "/v1/chat/completions",
        "0123456789abcdef0123456789abcdef",
        "http://host:80/a@b",
    ],
)
def test_ordinary_text_is_left_alone(logged, text):
    log.info("x", text=text)
    assert logged.events()[0]["text"] == text


def test_assigned_secrets_in_a_librarys_text_are_masked(logged):
    logging.getLogger("library").error("connect failed: password=hunter2 host=db")
    logging.getLogger("library").error("refused api_key: 'k 1' user=3")
    first, second = (e["message"] for e in logged.events())
    assert first == "connect failed: password=*** host=db"
    assert second == "refused api_key: *** user=3"


def test_an_exception_is_told_with_its_causes_and_without_local_variables(logged):
    def deep():
        prompt = "what nobody may read"
        raise ValueError("cause", len(prompt))

    try:
        try:
            deep()
        except ValueError as error:
            raise RuntimeError("effect") from error
    except RuntimeError:
        log.exception("broke", step=1)
    (event,) = logged.events()
    assert [stack["type"] for stack in event["exception"]] == ["RuntimeError", "ValueError"]
    assert event["exception"][0]["message"] == "effect"
    assert any(frame.endswith(" in deep") for frame in event["exception"][1]["frames"])
    assert event["level"] == "error"
    assert event["step"] == 1
    assert "what nobody may read" not in str(event)


def test_a_group_is_told_whole(logged):
    group = ExceptionGroup("several", [ValueError("one"), ExceptionGroup("more", [KeyError("two")])])
    log.error("broke", exc_info=group)
    assert "two" in str(logged.events()[0]["exception"])


def test_long_texts_are_cut(logged):
    log.info("x", text="a" * 100_000, error=ValueError("b" * 100_000))
    log.error("x", exc_info=ValueError("c" * 100_000))
    assert all(len(line) < 10_000 for line in logged.raw())
    assert "(100000 characters)" in logged.events()[0]["text"]


ATTACKS = [
    "a\nb",
    "a\r\nb",
    "a\x0bb\x0cb",
    "a\x1b[2Jb",
    "a\x85b",
    "a\u2028b\u2029c",
    "a\u202eb",
    'a" level=error event="x',
    "a\x00b",
    "\ud800",
]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_value_can_begin_a_line_or_command_a_terminal(logged, form, attack):
    logs.configure_logs(form, "info", stream=logged)
    log.info("x", text=attack, nested={"deep": [attack]}, **{attack: 1})
    log.info(attack)
    logging.getLogger("library").warning(attack)
    text = logged.getvalue().decode()
    assert len(text.splitlines()) == 3
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_exception_can_forge_a_line(logged, form):
    logs.configure_logs(form, "info", stream=logged)
    forged = "2026-01-01T00:00:00.000Z info request status=200"
    log.error("broke", exc_info=ValueError(f"x\n{forged}\x1b[2J"))
    text = logged.getvalue().decode()
    assert forged in text
    assert not any(line.startswith("2026") for line in text.splitlines())
    assert text.replace("\n", "").isprintable()


def test_console_lines_can_be_read(logged):
    logs.configure_logs("console", "info", stream=logged)
    log.warning("saved", rows=3, text="two words", path="/a/b")
    (line,) = logged.raw()
    assert line[13:] == b'warning  saved module=test rows=3 text="two words" path=/a/b'


def test_values_that_are_no_json_are_shown(logged):
    class Code(IntEnum):
        OK = 200

    identifier = uuid.uuid4()
    log.info(
        "x",
        a=datetime(2026, 1, 2, tzinfo=UTC),
        b=Decimal("1.10"),
        c=identifier,
        d=Path("/a"),
        e=Code.OK,
        f={1: {2}},
        g=2**80,
        h=float("nan"),
        i=object,
    )
    event = logged.events()[0]
    assert [event[name] for name in "abcdefgh"] == [
        "2026-01-02T00:00:00+00:00",
        "1.10",
        str(identifier),
        "/a",
        200,
        {"1": [2]},
        2**80,
        None,
    ]
    assert "object" in event["i"]


def test_a_value_that_holds_itself_ends(logged):
    loop = []
    loop.append(loop)
    log.info("x", loop=loop)
    assert len(logged.events()) == 1


def test_libraries_are_heard_from_warnings_on(logged):
    for name in ("sqlalchemy.engine", "httpx2", "openai"):
        logging.getLogger(name).info("a prompt")
    logging.getLogger("sqlalchemy.engine").warning("slow")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("uvicorn.access").error("GET /")
    assert [(e["event"], e["module"], e["message"], e["level"]) for e in logged.events()] == [
        ("library", "sqlalchemy.engine", "slow", "warning"),
        ("library", "uvicorn.error", "Started server process [7]", "info"),
    ]


def test_libraries_do_not_chatter_on_debug_either(logged):
    logs.configure_logs("json", "debug", stream=logged)
    logging.getLogger("openai").debug("a prompt")
    logging.getLogger("uvicorn.error").debug("a header")
    log.debug("own")
    assert [e["event"] for e in logged.events()] == ["own"]


def test_a_record_whose_arguments_do_not_fit_is_logged_all_the_same(logged):
    handler = next(handler for handler in logging.root.handlers if isinstance(handler, logs._FromLibraries))
    handler.handle(logging.makeLogRecord({"msg": "%d rows", "args": ("three",), "levelname": "WARNING"}))
    assert logged.events()[0]["message"] == "%d rows"


def test_python_warnings_are_logged(logged):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning: old" in logged.events()[0]["message"]


def test_a_log_that_cannot_be_written_fails_nothing(logged):
    class Full(type(logged)):
        def write(self, _):
            raise OSError(28, "No space left on device")

    logs.configure_logs("json", "info", stream=Full())
    log.info("lost")
    closed = type(logged)()
    closed.close()
    logs.configure_logs("json", "info", stream=type(logged)())
    logs._output.stream = closed
    log.info("lost")


def test_a_line_costs_little(logged):
    count = 2000
    bound = log.bind()
    begun = time.process_time()
    for _ in range(count):
        bound.info("request", method="POST", route="/v1/chat/completions", status=200, ms=12.3, user_id=12)
    assert (time.process_time() - begun) / count < 60e-6  # 6 µs on a quiet machine

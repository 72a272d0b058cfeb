"""The seed contract: /llm/image-completion/ with every provider that reads images."""

import base64
import io
import json

import pytest
from PIL import Image as Pillow

from rini.canon import Image, Text
from tests.support.model import MODELS, reply, user_of

PROVIDERS = sorted(MODELS)


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), colour: str = "red", **options) -> bytes:
    found = io.BytesIO()
    Pillow.new("RGB", size, colour).save(found, kind, **options)
    return found.getvalue()


def looks(request):
    """Say what the model is shown: the images' types and sizes, and the last text."""
    images = [
        Pillow.open(io.BytesIO(base64.b64decode(data_of(part))))
        for message in request.messages
        for part in message.parts
        if isinstance(part, Image)
    ]
    shown = [f"{image.format} {image.width}x{image.height}" for image in images]
    return reply(Text(f"{', '.join(shown) or 'nothing'}: {request.messages[-1].parts[-1].text}"))


def data_of(part: Image) -> str:
    return part.media.data or part.media.url.partition("base64,")[2]


def send(user, image: bytes, filename: str | None = "a.png", **fields: str):
    return user.form("/llm/image-completion/", {"image_file": (filename, image)}, **fields)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_model_looks_at_an_image(server, upstream, provider: str):
    user = user_of(server, upstream, provider, looks)
    answer = send(user, picture(), prompt="What is it?", provider=provider, model=MODELS[provider])
    assert answer.status == 200, answer
    assert answer.json["response_text"] == "PNG 8x6: What is it?"
    assert not {"assistant_message", "session_id"} & set(answer.json)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_in_a_session_the_image_is_kept_and_sent_again(server, upstream, provider: str):
    user = user_of(server, upstream, provider, looks)
    session = user.session()
    image = picture("JPEG")
    asked = {"provider": provider, "model": MODELS[provider], "session_id": session}
    answer = send(user, image, "../내 사진.jpg", prompt="What is it?", **asked).json
    assert answer["session_id"] == session
    assert answer["assistant_message"]["content"] == "JPEG 8x6: What is it?"
    question = answer["user_message"]
    assert question["file_reference"]
    assert question["original_filename"] == "내 사진.jpg"
    assert question["mime_type"] == "image/jpeg"
    assert question["content"] == "What is it?"
    file = user.get(f"/messages/{question['id']}/file")
    assert (file.status, file.headers["content-type"], file.body) == (200, "image/jpeg", image)
    again = user.ask("And now?", **asked)
    assert again.json["response_text"] == "JPEG 8x6: And now?"
    assert server.user().get(f"/messages/{question['id']}/file").status == 404
    assert user.delete(f"/sessions/{session}").status == 204
    assert user.get(f"/messages/{question['id']}/file").status == 404
    assert not list((server.data_dir / "files").rglob(f"*{question['file_reference']}*"))


@pytest.mark.parametrize("provider", ["anthropic", "google", "openai"])
def test_an_image_streams_like_a_text(server, upstream, provider: str):
    user = user_of(server, upstream, provider, looks)
    session = user.session()
    fields = {"provider": provider, "model": MODELS[provider], "session_id": session, "stream": "true"}
    answer = send(user, picture("WEBP"), prompt="Go.", **fields)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split(b"\n") for block in answer.body.strip().split(b"\n\n")]
    names = [lines[1].removeprefix(b"event: ") for lines in blocks]
    assert (names[0], names[-1]) == (b"start", b"done")
    done = json.loads(blocks[-1][2].removeprefix(b"data: "))
    assert done["response_text"] == "WEBP 8x6: Go."
    assert done["user_message"]["mime_type"] == "image/webp"


def test_the_usual_model_is_asked_where_none_is_named(server, upstream):
    user = user_of(server, upstream, "openai", looks)
    answer = send(user, picture(), provider="openai")
    assert answer.status == 200
    assert upstream.calls(user.provider_key)[-1].json["model"]
    assert answer.json["response_text"].startswith("PNG 8x6: ")
    answer = send(user, picture(), provider="openai_compatible")
    assert answer.status == 422
    assert "model" in answer.json["detail"]


def test_what_a_provider_does_not_take_is_converted_or_scaled(server, upstream):
    user = user_of(server, upstream, "google", looks)
    fields = {"provider": "google", "model": MODELS["google"], "prompt": "?"}
    assert send(user, picture("GIF"), **fields).json["response_text"] == "PNG 8x6: ?"
    user = user_of(server, upstream, "anthropic", looks)
    fields = {"provider": "anthropic", "model": MODELS["anthropic"], "prompt": "?"}
    text = send(user, picture(size=(9000, 30)), **fields).json["response_text"]
    width = int(text.removeprefix("PNG ").partition("x")[0])
    assert width <= 8000


REFUSED = {
    "a PDF": b"%PDF-1.7\n1 0 obj\n",
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "half a JPEG": picture("JPEG", (200, 200))[:400],
    "nothing": b"",
    "text": b"hello",
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_is_no_image_is_refused(server, upstream, what: str):
    user = user_of(server, upstream, "openai", looks)
    session = user.session()
    answer = send(user, REFUSED[what], "photo.png", provider="openai", model="gpt-4o-mini", session_id=session)
    assert (answer.status, answer.json["code"]) == (422, "image_refused"), answer
    assert user.get(f"/sessions/{session}/messages/").json == []
    assert upstream.calls(user.provider_key) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"provider": "local", "model": "smollm2-135m-instruct"},
        {"provider": "local"},
        {"provider": "openai", "model": "gpt-3.5-turbo"},
    ],
)
def test_without_vision_one_that_has_it_is_named(server, upstream, asked: dict):
    user = user_of(server, upstream, "openai", looks)
    answer = send(user, picture(), **asked)
    assert (answer.status, answer.json["code"]) == (422, "no_vision"), answer
    assert "of the provider 'openai'" in answer.json["detail"]


def test_a_conversation_with_an_image_does_not_go_to_a_model_that_reads_none(server, upstream):
    user = user_of(server, upstream, "openai", looks)
    session = user.session()
    assert send(user, picture(), provider="openai", model="gpt-4o-mini", session_id=session).status == 200
    answer = user.ask("And?", model="gpt-3.5-turbo", session_id=session)
    assert (answer.status, answer.json["code"]) == (422, "no_vision")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "provider"),
        ({"provider": "openai", "stream": "maybe"}, "stream"),
        ({"provider": "openai", "api_key_id": "x"}, "api_key_id"),
        ({"provider": "openai", "llm_params": "[1]"}, "llm_params"),
        ({"provider": "openai", "parent_message_id": "5"}, "session_id"),
        ({"provider": "openai", "colour": "red"}, "colour"),
        ({"provider": "nobody"}, "provider"),
    ],
)
def test_a_wrong_field_is_named(server, upstream, fields: dict, word: str):
    user = user_of(server, upstream, "openai", looks)
    answer = send(user, picture(), **fields)
    assert (answer.status, answer.json["code"]) == (422, "invalid_request"), answer
    assert word in answer.json["detail"]


def test_a_body_that_is_no_form_is_refused(server):
    user = server.user()
    path = "/llm/image-completion/"
    kind = "multipart/form-data; boundary=x"
    for raw, content_type in (
        (b"{}", "application/json"),
        (b"", kind),
        (b"--x\r\n", kind),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n", kind),
        (b'--x\r\nContent-Disposition: form-data; name="image_file"\r\n\r\na', kind),
        (b"\x00\xff" * 1000, kind),
        (b"x", "multipart/form-data"),
    ):
        answer = user.request("POST", path, raw=raw, Content_Type=content_type)
        assert answer.status == 422, (raw, answer)
    assert user.form(path, {}, provider="openai").json["detail"].startswith("image_file")


def test_another_users_session_gets_no_image_and_no_file_stays(server, upstream):
    user = user_of(server, upstream, "openai", looks)
    other = server.user()
    files = server.data_dir / "files"
    before = set(files.rglob("*")) if files.exists() else set()
    answer = send(user, picture(), provider="openai", model="gpt-4o-mini", session_id=other.session())
    assert answer.status == 404
    assert {path for path in files.rglob("*") if path.is_file()} <= before

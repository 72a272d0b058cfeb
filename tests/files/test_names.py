"""What is kept of a file's name, and how a header tells it."""

import random
from email.message import Message
from urllib.parse import unquote

import pytest

from rini.files.names import content_disposition, safe_filename
from rini.kit.text import storable


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\고양이.png", "고양이.png"),
        ("/", None),
        ("", None),
        (None, None),
        (" . ", None),
        ("..", None),
        ("...", None),
        (".gitignore", ".gitignore"),
        ("a\r\nSet-Cookie: x=1.png", "a  Set-Cookie: x=1.png"),
        ("nul\x00\x1b[31m.png", "nul[31m.png"),
        ("half \ud800 pair.png", "half  pair.png"),
        ("gnp.\u202egnp.exe", "gnp.gnp.exe"),
        ("\u200b\ufeff", None),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af.png", "한글.png"),
        ("x" * 300, "x" * 255),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
        ("a." + "x" * 300, "a." + "x" * 253),
    ],
)
def test_a_name_is_made_safe(name: str | None, kept: str | None):
    assert safe_filename(name) == kept


def test_any_name_is_storable_and_tellable():
    chance = random.Random(5)
    for _ in range(2000):
        name = "".join(chr(chance.choice((chance.randrange(128), chance.randrange(0x11_0000)))) for _ in range(9))
        kept = safe_filename(name)
        if kept is None:
            continue
        assert safe_filename(kept) == kept
        assert storable(kept)
        assert len(kept) <= 255
        value = content_disposition("inline", kept)
        value.encode("latin-1")
        assert value.isascii()
        assert value.isprintable()


@pytest.mark.parametrize(
    "name", ["cat.png", 'a "quoted" one.png', "back\\slash%20.png", "고양이 사진.png", "é'*;=.png", "🐈.gif"]
)
def test_a_header_tells_the_whole_name(name: str):
    value = content_disposition("inline", name)
    message = Message()
    message["content-disposition"] = value
    assert message.get_content_disposition() == "inline"
    starred = value.partition("filename*=UTF-8''")[2]
    assert (unquote(starred) if starred else message.get_filename()) == name
    plain = value.removeprefix('inline; filename="').partition('"')[0]
    assert plain.isascii()
    assert plain.endswith(name[-4:])


def test_a_file_without_a_name():
    assert content_disposition("attachment", None) == "attachment"

"""The operator's file of MCP servers."""

import json
from pathlib import Path
from typing import Any

import pytest

from rini.settings import SettingsError
from rini.tools.servers_file import load_servers


def load(folder: Path, content: Any) -> Any:
    file = folder / "mcp.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_servers(file)


def test_servers_are_read_in_the_form_that_users_know(tmp_path: Path):
    servers = {
        "files": {"command": "npx", "args": ["-y", "server", "/data"], "env": {"TOKEN": "t"}, "cwd": "/srv"},
        "search": {"url": "http://10.0.0.5/mcp?x=1", "headers": {"X-Key": " k "}, "allowed_tools": ["find"]},
        "old": {"type": "sse", "url": "https://example.com/sse", "timeout_seconds": 5},
        "http": {"type": "http", "url": "https://example.com/mcp"},
        "off": {"command": "x", "enabled": False},
    }
    files, search, old, http = load(tmp_path, {"mcpServers": servers, "inputs": []})
    assert (files.transport, files.command, files.folder) == ("stdio", ("npx", "-y", "server", "/data"), "/srv")
    assert (files.environment, files.timeout, files.is_operators) == ({"TOKEN": "t"}, 30, True)
    assert (search.transport, search.headers, search.allowed_tools) == ("streamable_http", {"X-Key": "k"}, {"find"})
    assert (old.transport, old.timeout, http.transport) == ("sse", 5, "streamable_http")
    assert len({each.key for each in (files, search, old, http)}) == 4
    assert "t" not in repr(files).replace("ToolServer(key='server_files')", "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[]", '"mcpServers"'),
        ({"servers": {}}, '"mcpServers"'),
        ({"mcpServers": []}, '"mcpServers"'),
        ({"mcpServers": {"a": 7}}, "a must be an object"),
        ({"mcpServers": {"a": {}}}, "a.url cannot be used"),
        ({"mcpServers": {"a": {"url": "ftp://x"}}}, "a.url cannot be used: The URL must begin with http"),
        ({"mcpServers": {"a": {"command": ""}}}, "a.command must be the program"),
        ({"mcpServers": {"a": {"command": ["x"]}}}, "a.command must be a string"),
        ({"mcpServers": {"a": {"command": "x", "args": "y"}}}, "a.args must be a list of strings"),
        ({"mcpServers": {"a": {"command": "x", "env": {"A": 1}}}}, "a.env must be an object of strings"),
        ({"mcpServers": {"a": {"command": "x", "env": {"A=B": "1"}}}}, "a.env must hold names"),
        ({"mcpServers": {"a": {"command": "x", "url": "http://x"}}}, "a.url is not known for stdio"),
        ({"mcpServers": {"a": {"url": "http://x", "argz": []}}}, "a.argz is not known"),
        ({"mcpServers": {"a": {"url": "http://x", "type": "websocket"}}}, "a.transport must be"),
        ({"mcpServers": {"a": {"url": "http://x", "headers": {"A": "b\nc"}}}}, "a.headers must have values"),
        ({"mcpServers": {"a": {"url": "http://x", "headers": {"Host": "b"}}}}, "a.headers must not set host"),
        ({"mcpServers": {"a": {"url": "http://x", "timeout_seconds": True}}}, "a.timeout_seconds must be"),
        ({"mcpServers": {"a": {"url": "http://x", "enabled": "yes"}}}, "a.enabled must be true or false"),
        ({"mcpServers": {"a": {"url": "http://x", "allowed_tools": "x"}}}, "a.allowed_tools must be a list"),
    ],
)
def test_each_mistake_is_a_sentence(tmp_path: Path, content: Any, words: str):
    with pytest.raises(SettingsError) as found:
        load(tmp_path, content)
    assert str(found.value).startswith("RINI_MCP_SERVERS_FILE: ")
    assert words in str(found.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_servers(tmp_path / "missing.json")

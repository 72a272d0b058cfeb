"""A stdio server in plain Python, which starts at once: for what is tested of the process rather than of the protocol."""

import json
import os
import sys


def answer(message):
    match message["method"]:
        case "initialize":
            info = {"name": "small", "version": "1"}
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": "environment", "inputSchema": {"type": "object"}}]}
        case "tools/call" if message["params"]["name"] == "die":
            os._exit(3)
        case "tools/call":
            told = json.dumps(dict(os.environ) | {"pid": str(os.getpid())})
            return {"content": [{"type": "text", "text": told}]}
    return None


print("a line that is no message", flush=True)
print("a word to the operator", file=sys.stderr, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        result = answer(asked)
        said = {"error": {"code": -32601, "message": "no such method"}} if result is None else {"result": result}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"]} | said), flush=True)

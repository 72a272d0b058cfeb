"""A small S3 on loopback: as much of it as keeps, gives and deletes objects."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit


class S3:
    """``objects`` are what it holds, by path. While ``down`` is set it answers 503."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                path = unquote(urlsplit(self.path).path)
                if outer.down or not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256"):
                    self.answer(503 if outer.down else 403)
                elif self.command == "PUT":
                    outer.objects[path] = body
                    self.answer(200, ETag='"1"')
                elif self.command == "GET" and path in outer.objects:
                    when = "Mon, 02 Nov 2026 10:00:00 GMT"
                    self.answer(200, outer.objects[path], ETag='"1"', Last_Modified=when)
                elif self.command == "POST":
                    keys = re.findall("<Key>(.*?)</Key>", body.decode())
                    for key in keys:
                        outer.objects.pop(f"{path}/{key}", None)
                    deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
                    self.answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
                else:
                    self.answer(404)

        for method in ("GET", "PUT", "POST"):
            setattr(Handler, f"do_{method}", Handler.handle_any)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

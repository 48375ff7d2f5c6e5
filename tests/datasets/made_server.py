"""A server of files that refuses, breaks off and lies, also in Drive's and the hub's ways."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Headers = dict[str, str]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIRM = (  # on one line, as Drive sends it
    '<!DOCTYPE html><html><body><form id="download-form" '
    'action="https://drive.usercontent.google.com/download" method="get">'
    '<input type="hidden" name="id" value="{id}">'
    '<input type="hidden" name="confirm" value="t"></form></body></html>'
)


@dataclass
class Served:
    """A file, or a refusal."""

    content: bytes = b""
    status: int = 200
    etag: str | None = None
    md5: bytes | None = None
    html: bool = False
    """Sent as a page instead of a file."""


@dataclass
class Hub:
    """A model of the hub, gated where ``token`` is set."""

    name: str
    files: dict[str, bytes]
    token: str | None = None
    declared: dict[str, str] = field(default_factory=dict)
    """Wrong checksums."""


class Server(ThreadingHTTPServer):
    """See ``serve``.

    Attributes:
        files: By path; Drive's by ``drive:<id>``.
        breaks_after: Bytes after which connections break.
        asked: Paths and ranges in the order of requests.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.hub: Hub | None = None
        self.breaks_after: int | None = None
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, *, body: bool = True) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, self.headers.get("Range")))
        hub = self.server.hub
        if hub is not None and hub.name in parts.path:
            self._hub(hub, parts.path, body)
            return
        key = f"drive:{query['id']}" if "id" in query else parts.path
        found = self.server.files.get(key)
        if found is None or found.status != 200:
            self._send(b"no", status=found.status if found else 404, body=body)
            return
        if parts.path == "/uc" and found.html and "confirm" not in query:
            page = CONFIRM.format(id=query["id"]).encode()
            self._send(page, headers={"Content-Type": "text/html; charset=utf-8"}, body=body)
            return
        self._file(found, body)

    def _file(self, found: Served, body: bool) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        headers["Content-Disposition"] = 'attachment; filename="file"'
        if found.etag:
            headers["ETag"] = found.etag
        if found.md5 is not None:
            headers["x-goog-hash"] = f"crc32c=AAAAAA==,md5={base64.b64encode(found.md5).decode()}"
        asked, unless = self.headers.get("Range"), self.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        if unless is not None and unless != found.etag:
            start = 0
        if start and start >= len(found.content):
            self._send(b"", status=416, headers=headers, body=body)
            return
        if start:
            last = len(found.content) - 1
            headers["Content-Range"] = f"bytes {start}-{last}/{last + 1}"
        self._send(found.content[start:], status=206 if start else 200, headers=headers, body=body)

    def _send(
        self,
        content: bytes,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        body: bool,
    ) -> None:
        self.send_response(status)
        always = {"Content-Length": str(len(content)), "Connection": "close"}
        for name, value in {**(headers or {}), **always}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[: self.server.breaks_after])
        self.close_connection = True

    def _json(self, content: object, body: bool) -> None:
        headers = {"Content-Type": "application/json", "X-Repo-Commit": COMMIT}
        self._send(json.dumps(content).encode(), headers=headers, body=body)

    def _hub(self, hub: Hub, path: str, body: bool) -> None:
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            self._send(b"{}", status=403, headers=headers, body=body)
            return
        lfs = {
            name: hub.declared.get(name, hashlib.sha256(content).hexdigest())
            for name, content in hub.files.items()
            if name.endswith((".safetensors", ".model"))
        }
        if "/resolve/" in path:
            name = path.rpartition("/")[2]
            content = hub.files[name]
            etag = lfs.get(name) or hashlib.sha1(content).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
            self._send(content, headers=headers, body=body)
            return
        files = [
            {
                "type": "file", "rfilename": name, "path": name, "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
                "blobId": hashlib.sha1(content).hexdigest(),
                **({"lfs": {"sha256": lfs[name], "oid": lfs[name], "size": len(content),
                            "pointerSize": 1}} if name in lfs else {}),
            }
            for name, content in hub.files.items()
        ]  # fmt: skip
        if "/tree/" in path:
            self._json(files, body)
            return
        self._json({"id": hub.name, "sha": COMMIT, "siblings": files, "tags": []}, body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Server]:
    """A running server."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()

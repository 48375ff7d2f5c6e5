"""Public weights: whole or not there, resumed, checked."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from minigpt4.common.errors import AccessError
from minigpt4.models.vision.download import download, eva_vit_g

CONTENT = bytes(range(256)) * 3000


class _Server(ThreadingHTTPServer):
    breaks_after: int | None = None
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    ranges: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={self.server.md5}")
            self.end_headers()
            return
        body = CONTENT[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={self.server.md5}")
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.ranges = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


def url_of(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/eva_vit_g.pth"


def test_downloaded_once(server, hub):
    path = eva_vit_g(url_of(server))
    assert path == hub / "eva_vit_g.pth"
    assert path.read_bytes() == CONTENT
    assert eva_vit_g(url_of(server)) == path
    assert server.ranges == [None]
    assert [p.name for p in hub.iterdir()] == ["eva_vit_g.pth"]


def test_a_broken_connection_keeps_what_came_and_goes_on(server, hub):
    server.breaks_after = 100_000
    with pytest.raises(AccessError, match="what came so far is kept"):
        eva_vit_g(url_of(server))
    assert not (hub / "eva_vit_g.pth").exists()
    assert (hub / "eva_vit_g.pth.part").stat().st_size == 100_000
    server.breaks_after = None
    assert eva_vit_g(url_of(server)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


def test_a_file_that_differs_from_the_servers_checksum_is_not_kept(server, hub):
    server.md5 = base64.b64encode(hashlib.md5(b"another").digest()).decode()
    with pytest.raises(AccessError, match="differs from the checksum"):
        eva_vit_g(url_of(server))
    assert list(hub.iterdir()) == []


def test_a_part_that_is_whole_already(server, tmp_path):
    target = tmp_path / "weights.pth"
    target.with_name("weights.pth.part").write_bytes(CONTENT)
    download(url_of(server), target)
    assert target.read_bytes() == CONTENT


def test_no_network(hub):
    with pytest.raises(AccessError, match=r"model\.vit_weights"):
        eva_vit_g("http://127.0.0.1:9/eva_vit_g.pth")

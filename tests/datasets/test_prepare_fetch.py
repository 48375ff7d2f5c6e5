"""Getting data and weights from a server that refuses, breaks off and lies."""

import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
import torch
from conftest import mvtec_rows, vivqa_rows, write_csv, write_json, write_picture
from made_server import Hub, Served, serve

from minigpt4.common import download as downloads
from minigpt4.common.errors import AccessError, DataError, ResourceError, run_cli
from minigpt4.datasets.prepare import archives, drive, weights
from minigpt4.datasets.prepare.cli import main
from minigpt4.datasets.prepare.fetch import fetch

CONTENT = bytes(range(256)) * 2000
ID, OTHER_ID = "1e01JVGKLIyIPoGA5kQLS3LJtWmC8obK8", "1eOlJVGKLIyIPoGA5kQLS3LJtWmC8obK8"


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def mirror(server, monkeypatch):
    """Google Drive replaced by the server."""
    monkeypatch.setenv(drive.ENDPOINT, server.url)
    return server


def zip_bytes(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


class TestDownloads:
    def test_goes_on_where_it_broke_off(self, server, tmp_path):
        server.files["/a.bin"] = Served(CONTENT, etag='"1"')
        server.breaks_after = 100_000
        with pytest.raises(OSError, match="broke after 100000 of 512000"):
            downloads.download(f"{server.url}/a.bin", tmp_path / "a.bin")
        server.breaks_after = None
        downloads.download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin").read_bytes() == CONTENT
        assert [asked for _, asked in server.asked] == [None, "bytes=100000-"]
        assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]

    def test_begins_anew_when_the_file_has_changed_meanwhile(self, server, tmp_path):
        server.files["/a.bin"] = Served(CONTENT, etag='"1"')
        server.breaks_after = 100_000
        with pytest.raises(OSError):
            downloads.download(f"{server.url}/a.bin", tmp_path / "a.bin")
        server.breaks_after = None
        server.files["/a.bin"] = Served(CONTENT[::-1], etag='"2"')
        downloads.download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1]

    def test_a_file_that_differs_from_what_the_server_declares_is_not_kept(self, server, tmp_path):
        server.files["/a.bin"] = Served(CONTENT, md5=hashlib.md5(b"x").digest())
        with pytest.raises(OSError, match="differs from the checksum"):
            downloads.download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert list(tmp_path.glob("a.bin*")) in ([], [tmp_path / "a.bin.part.tag"])
        server.files["/a.bin"] = Served(CONTENT, md5=hashlib.md5(CONTENT).digest())
        downloads.download(f"{server.url}/a.bin", tmp_path / "a.bin")

    def test_room_is_looked_for_first(self, server, tmp_path, monkeypatch):
        server.files["/a.bin"] = Served(CONTENT)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(ResourceError, match=r"make room"):
            downloads.download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
    def test_a_disk_that_fills_up(self, server, tmp_path, capsys):
        server.files["/a.zip"] = Served(CONTENT)
        (tmp_path / "a.zip.part").symlink_to("/dev/full")
        code = run_cli(lambda _: fetch(f"{server.url}/a.zip", tmp_path))
        assert code == ResourceError.exit_code
        assert "run the same command again to go on" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("status", "said"),
        [(404, "not there any more.*by hand"), (403, "without access.*in a browser"),
         (401, "without access"), (500, "run the same command again")],
    )  # fmt: skip
    def test_refusals_say_what_to_do(self, server, tmp_path, status, said):
        server.files["/a.zip"] = Served(status=status)
        with pytest.raises(AccessError, match=f"(?s){said}.*name the saved file"):
            fetch(f"{server.url}/a.zip", tmp_path)

    def test_an_archive_is_noted_and_compared_when_it_is_used_again(self, server, tmp_path):
        content = zip_bytes(a__x="1")
        server.files["/a.zip"] = Served(content)
        folder = fetch(f"{server.url}/a.zip", tmp_path)
        noted = (tmp_path / "a.zip.sha256").read_text()
        assert noted == f"{hashlib.sha256(content).hexdigest()}  a.zip\n"
        shutil.rmtree(folder)
        assert (fetch(f"{server.url}/a.zip", tmp_path) / "a/x").read_text() == "1"
        assert len(server.asked) == 1
        shutil.rmtree(folder)
        (tmp_path / "a.zip").write_bytes(zip_bytes(a__x="2"))
        with pytest.raises(DataError, match="remove it and get it again"):
            fetch(f"{server.url}/a.zip", tmp_path)

    def test_git_never_waits_for_a_password(self, server, tmp_path):
        with pytest.raises(AccessError, match="by hand"):
            fetch(f"git+{server.url}/private.git", tmp_path)
        assert not (tmp_path / "git").exists()


class TestDrive:
    def test_the_other_spelling_is_tried(self, mirror, tmp_path, caplog):
        mirror.files[f"drive:{OTHER_ID}"] = Served(zip_bytes(x="1"))
        assert (fetch(f"gdrive:{ID}|{OTHER_ID}", tmp_path) / "x").is_file()
        assert "trying the other spelling" in caplog.text

    def test_none_of_them(self, mirror, tmp_path):
        with pytest.raises(AccessError, match=f"{ID}.*{OTHER_ID}.*in a browser") as error:
            fetch(f"gdrive:{ID}|{OTHER_ID}", tmp_path)
        assert "\n" not in str(error.value)

    def test_a_page_instead_of_the_file(self, mirror, tmp_path):
        mirror.files[f"drive:{ID}"] = Served(b"<!DOCTYPE html><html>Quota exceeded</html>")
        with pytest.raises(AccessError, match="a page came instead"):
            fetch(f"gdrive:{ID}", tmp_path)
        assert not list(tmp_path.glob("*.archive*"))

    def test_through_gdown_with_its_confirmation_page(self, server, tmp_path, monkeypatch):
        """The real client against a server in Drive's place."""
        content = zip_bytes(x="1") + b""
        server.files[f"drive:{ID}"] = Served(content, html=True, etag='"1"')
        send = requests.Session.request

        def redirected(self, method, url, **options):
            for host in ("drive.google.com", "drive.usercontent.google.com"):
                url = url.replace(f"https://{host}", server.url)
            return send(self, method, url.replace("/download?", "/uc?"), **options)

        monkeypatch.setattr(requests.Session, "request", redirected)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(drive, "_RETRIES", 0)
        server.breaks_after = len(content) // 2
        with pytest.raises(AccessError):
            fetch(f"gdrive:{ID}", tmp_path / "scratch")
        server.breaks_after = None
        assert (fetch(f"gdrive:{ID}", tmp_path / "scratch") / "x").is_file()

    def test_gdown_looks_for_room_too(self, tmp_path, monkeypatch):
        import gdown

        monkeypatch.setattr(gdown, "download", lambda **given: given["progress"](0, 10**18))
        with pytest.raises(ResourceError, match="make room"):
            fetch(f"gdrive:{ID}", tmp_path)


class TestUnsafeArchives:
    @pytest.mark.parametrize("name", ["../out.txt", "/abs.txt"])
    def test_paths_outside(self, server, tmp_path, name):
        server.files["/a.zip"] = Served(zip_bytes(**{name: "x"}))
        with pytest.raises(DataError, match="outside"):
            fetch(f"{server.url}/a.zip", tmp_path / "s")
        assert not list(tmp_path.rglob("*.txt")) and not list(tmp_path.rglob("*.files*"))

    def test_links(self, server, tmp_path):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as file:
            link = tarfile.TarInfo("images")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc"
            file.addfile(link)
        server.files["/a.tgz"] = Served(buffer.getvalue())
        with pytest.raises(DataError, match="link"):
            fetch(f"{server.url}/a.tgz", tmp_path)

    def test_bombs(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(archives, "MAX_BYTES", 50_000)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros", b"\0" * 100_000)
        server.files["/a.zip"] = Served(buffer.getvalue())
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as file:
            for name in ("a", "b"):
                member = tarfile.TarInfo(name)
                member.size = 40_000
                file.addfile(member, io.BytesIO(b"\0" * 40_000))
        server.files["/a.tgz"] = Served(buffer.getvalue())
        for name in ("a.zip", "a.tgz"):
            with pytest.raises(ResourceError, match="hard to believe"):
                fetch(f"{server.url}/{name}", tmp_path)

    def test_a_member_that_lies_about_its_size(self, server, tmp_path):
        content = bytearray(zip_bytes(x="y" * 1000))
        for mark in (b"PK\x03\x04", b"PK\x01\x02"):
            place = content.index(mark) + (22 if mark == b"PK\x03\x04" else 24)
            content[place : place + 4] = (10).to_bytes(4, "little")
        server.files["/a.zip"] = Served(bytes(content))
        with pytest.raises(DataError):
            fetch(f"{server.url}/a.zip", tmp_path)

    def test_no_room_to_unpack(self, tmp_path, monkeypatch):
        (tmp_path / "a.zip").write_bytes(zip_bytes(x="y" * 1000))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
        with pytest.raises(ResourceError, match="make room"):
            fetch(str(tmp_path / "a.zip"), tmp_path / "s")


class TestCommands:
    def test_mvtec_without_a_root(self, mirror, tmp_path, capsys):
        source = tmp_path / "source/MVTEC_det"
        for i, row in enumerate(mvtec_rows()):
            write_picture(source / "images" / row["image_path"], i)
        write_json(source / "train_data.json", mvtec_rows())
        write_json(source / "val_data.json", mvtec_rows(2))
        archive = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "source")
        mirror.files[f"drive:{OTHER_ID}"] = Served(Path(archive).read_bytes())
        out = tmp_path / "out"
        main(["mvtec", "--out", str(out)])
        printed = capsys.readouterr().out
        assert "train_data.json: 6 pictures, 3 of them with a defect" in printed
        assert "pictures: all there" in printed
        assert (out / "images/bottle/test/good/000.png").is_file()
        asked = len(mirror.asked)
        main(["mvtec", "--out", str(out)])
        assert len(mirror.asked) == asked, "what is there is not fetched again"
        (out / "images/bottle/test/good/000.png").unlink()
        main(["mvtec", "--out", str(out)])
        assert "pictures missing: 1 (bottle/test/good/000.png)" in capsys.readouterr().out

    def test_an_archive_of_something_else(self, server, tmp_path):
        server.files["/a.zip"] = Served(zip_bytes(x="1"))
        with pytest.raises(DataError, match="not MVTEC_det"):
            main(["mvtec", "--out", str(tmp_path / "o"), "--source", f"{server.url}/a.zip"])

    def test_vivqa(self, mirror, tmp_path, capsys):
        source = tmp_path / "git"
        source.mkdir()
        write_csv(source / "train.csv", vivqa_rows(4))
        write_csv(source / "test.csv", vivqa_rows(2))
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
            subprocess.run(["git", *command], cwd=source, check=True, capture_output=True)
        for i in range(4):
            write_picture(tmp_path / f"pictures/{i:012d}.jpg", i)
        archive = shutil.make_archive(str(tmp_path / "p"), "zip", tmp_path / "pictures")
        drive_id = "1jvFik5rNEk--in1Ismk-aiA6NqDfJyXI"
        mirror.files[f"drive:{drive_id}"] = Served(Path(archive).read_bytes())
        main(["vivqa", "--csv", f"git+{source.as_uri()}", "--out", str(tmp_path / "ViVQA")])
        assert "pictures: all there" in capsys.readouterr().out

    def test_a_checkpoint(self, mirror, tmp_path, capsys):
        torch.save({"model": {}}, tmp_path / "made.pth")
        content = (tmp_path / "made.pth").read_bytes()
        mirror.files[f"drive:{weights.STAGE_3}"] = Served(content)
        out = tmp_path / "ckpt/checkpoint_stage3.pth"
        main(["ckpt", "--out", str(out)])
        digest = hashlib.sha256(content).hexdigest()
        assert f"fetched: {out} (SHA-256 {digest})" in capsys.readouterr().out
        main(["ckpt", "--out", str(out), "--sha256", digest])
        assert "already there" in capsys.readouterr().out and len(mirror.asked) == 1
        out.write_bytes(content + b"x")
        with pytest.raises(DataError, match="get it again"):
            main(["ckpt", "--out", str(out)])

    def test_something_else_than_a_checkpoint(self, mirror, tmp_path):
        mirror.files[f"drive:{weights.STAGE_3}"] = Served(b"hello")
        with pytest.raises(DataError, match="no checkpoint of torch"):
            main(["ckpt", "--out", str(tmp_path / "x.pth")])

    def test_the_encoder(self, server, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        server.files["/eva_vit_g.pth"] = Served(CONTENT, md5=hashlib.md5(CONTENT).digest())
        for _ in range(2):
            main(["eva", "--url", f"{server.url}/eva_vit_g.pth"])
        assert (tmp_path / "checkpoints/eva_vit_g.pth").read_bytes() == CONTENT
        assert len(server.asked) == 1


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    files = {
        "config.json": b"{}",
        "tokenizer.model": b"tokens",
        "model.safetensors": CONTENT,
        "pytorch_model.bin": b"the same again",
        "pytorch_model.bin.index.json": b"{}",
        "README.md": b"read me",
    }
    server.hub = Hub("owner/llama", files)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return server.hub


class TestLanguageModel:
    def test_only_what_loading_needs(self, hub, tmp_path, capsys):
        main(["llama", "--model", hub.name, "--out", str(tmp_path / "llama")])
        files = {path.name for path in (tmp_path / "llama").iterdir() if path.is_file()}
        assert files == {"config.json", "tokenizer.model", "model.safetensors"}
        assert "3 files, checked" in capsys.readouterr().out

    def test_the_users_token_and_what_to_do_without_it(self, hub, tmp_path, monkeypatch):
        hub.token = "hf_secret"
        words = ["llama", "--model", hub.name, "--out", str(tmp_path / "llama")]
        with pytest.raises(AccessError, match=r"gated: accept its licence.*HF_TOKEN"):
            main(words)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        main(words)
        assert (tmp_path / "llama/model.safetensors").read_bytes() == CONTENT

    def test_a_token_that_is_none(self, server, hub, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_old")
        server.files[f"/api/models/{hub.name}"] = Served(status=401)
        server.hub = None
        with pytest.raises(AccessError, match=r"does not accept your token.*hf auth login"):
            main(["llama", "--model", hub.name])

    def test_a_file_that_differs_from_what_is_declared(self, hub, tmp_path):
        hub.declared["model.safetensors"] = hashlib.sha256(b"another").hexdigest()
        with pytest.raises(DataError, match="differs from what the hub declares"):
            main(["llama", "--model", hub.name, "--out", str(tmp_path / "llama")])

    def test_no_room(self, hub, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(ResourceError, match="make room"):
            main(["llama", "--model", hub.name, "--out", str(tmp_path / "llama")])

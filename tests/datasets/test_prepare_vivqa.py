import functools
import http.server
import io
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from conftest import vivqa_rows, write_csv, write_picture

from minigpt4.common.errors import AccessError, DataError, ResourceError
from minigpt4.datasets.prepare import archives
from minigpt4.datasets.prepare.archives import unpack
from minigpt4.datasets.prepare.cli import main
from minigpt4.datasets.prepare.fetch import fetch
from minigpt4.datasets.prepare.vivqa import prepare_vivqa


@pytest.fixture
def source(tmp_path):
    """CSVs and pictures as they lie about elsewhere."""
    folder = tmp_path / "source"
    folder.mkdir()
    write_csv(folder / "train.csv", vivqa_rows())
    write_csv(folder / "test.csv", vivqa_rows(3))
    names = ["000000000000.jpg", "COCO_train2014_000000000001.jpg", "2.jpg", "deep/3.jpg", "99.jpg"]
    for i, name in enumerate(names):
        write_picture(folder / "pictures" / name, i)
    return folder


@pytest.fixture
def server(source):
    """Serves ``source`` over HTTP."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(source))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_files_are_placed_under_the_names_that_training_reads(source, tmp_path):
    out = tmp_path / "ViVQA"
    report = prepare_vivqa(out, csv=str(source), images=str(source / "pictures"))
    assert (out / "train.csv").read_bytes() == (source / "train.csv").read_bytes()
    assert sorted(p.name for p in (out / "images").iterdir()) == [f"{i:012d}.jpg" for i in range(4)]
    assert (report.placed, report.unused) == (4, 1)
    assert report.splits["train"].missing == [f"{i:012d}.jpg" for i in range(4, 8)]
    assert report.splits["test"].missing == []
    again = prepare_vivqa(out, csv=str(source), images=str(source / "pictures"))
    assert again.placed == 0


def test_csvs_are_checked(source, tmp_path):
    rows = vivqa_rows(4)
    rows[1]["answer"] = "đỏ"
    extra = [{**rows[0], "answer": "khác"}, {**rows[1], "answer": " đỏ"}, {**rows[3], "answer": ""}]
    rows = [{**row, "answer": row["answer"].strip()} for row in rows]
    write_csv(source / "train.csv", [*rows, *extra])
    write_csv(source / "test.csv", [rows[2], {**rows[3], "img_id": 77, "answer": "mới"}])
    report = prepare_vivqa(tmp_path / "out", csv=str(source), images=None)
    train = report.splits["train"]
    assert (train.rows, train.pictures) == (7, 4)
    assert train.types == {"colour": 1, "number": 2, "object": 2, "place": 2}
    assert (train.repeated, train.extra_rows, train.conflicting) == (3, 3, 2)
    assert (train.spaced, train.empty, train.missing) == (1, 1, None)
    assert (report.shared_pairs, report.new_answers) == (1, 1)


def test_the_command_says_what_it_found(source, tmp_path, capsys):
    out = tmp_path / "o"
    main(["vivqa", "--csv", str(source), "--images", str(source / "pictures"), "--out", str(out)])
    printed = capsys.readouterr().out
    assert "train: 8 questions on 8 pictures" in printed
    assert "pictures missing: 4 (000000000004.jpg" in printed
    main(["vivqa", "--csv", "none", "--images", "none", "--out", str(out)])


def test_a_file_that_is_not_vivqas_is_refused(source, tmp_path):
    (source / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column question"):
        prepare_vivqa(tmp_path / "o", csv=str(source), images=None)
    (source / "train.csv").unlink()
    with pytest.raises(DataError, match=r"no train\.csv"):
        prepare_vivqa(tmp_path / "o2", csv=str(source), images=None)


def zip_of(folder, path):
    with zipfile.ZipFile(path, "w") as file:
        for each in sorted(folder.rglob("*.jpg")):
            file.write(each, each.relative_to(folder))
    return path


class TestFetch:
    def test_archives_by_path_and_by_url(self, source, server, tmp_path):
        archive = zip_of(source / "pictures", source / "pictures.zip")
        for place in (str(archive), archive.as_uri(), f"{server}/pictures.zip"):
            scratch = tmp_path / f"scratch{len(place)}"
            folder = fetch(place, scratch)
            assert len(list(folder.rglob("*.jpg"))) == 5
            assert fetch(place, scratch) == folder

    def test_a_download_that_was_cut_short_goes_on(self, source, server, tmp_path):
        archive = zip_of(source / "pictures", source / "pictures.zip")
        (tmp_path / "pictures.zip.tmp").write_bytes(archive.read_bytes()[:100])
        folder = fetch(f"{server}/pictures.zip", tmp_path)
        assert len(list(folder.rglob("*.jpg"))) == 5

    def test_a_git_repository(self, source, tmp_path):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
            subprocess.run(["git", *command], cwd=source, check=True, capture_output=True)
        folder = fetch(f"git+{source.as_uri()}", tmp_path / "scratch")
        assert (folder / "train.csv").is_file()

    def test_what_cannot_be_had_is_answered_with_what_to_do(self, server, tmp_path):
        with pytest.raises(AccessError, match=r"404.*by hand"):
            fetch(f"{server}/gone.zip", tmp_path)
        with pytest.raises(AccessError, match=r"clone .*by hand"):
            fetch(f"git+{(tmp_path / 'no.git').as_uri()}", tmp_path)
        with pytest.raises(DataError, match="there is no 'nowhere'"):
            fetch("nowhere", tmp_path)

    def test_a_drive_id_goes_to_gdown(self, source, tmp_path, monkeypatch):
        import gdown

        archive = zip_of(source / "pictures", source / "pictures.zip")
        asked = []

        def download(*, id, output, **_):
            asked.append(id)
            Path(output).write_bytes(archive.read_bytes())
            return output

        monkeypatch.setattr(gdown, "download", download)
        drive_id = "1jvFik5rNEk--in1Ismk-aiA6NqDfJyXI"
        for place in (f"gdrive:{drive_id}", drive_id):
            assert len(list(fetch(place, tmp_path).rglob("*.jpg"))) == 5
        assert asked == [drive_id]

        def refuse(**_):
            raise RuntimeError("Too many users have viewed this file")

        monkeypatch.setattr(gdown, "download", refuse)
        with pytest.raises(AccessError, match=f"Too many users.*{drive_id}.*browser"):
            fetch(drive_id, tmp_path / "other")


def tar_with(path, member, data=b""):
    with tarfile.open(path, "w") as file:
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))
    return path


class TestArchives:
    @pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/abs.txt", "c:/x.txt"])
    def test_nothing_is_written_outside(self, tmp_path, name):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr("good.txt", "x")
            file.writestr(name, "x")
        tar = tar_with(tmp_path / "a.tar", tarfile.TarInfo(name), b"x")
        for archive in (tmp_path / "a.zip", tar):
            with pytest.raises(DataError, match="outside"):
                unpack(archive, tmp_path / "target" / archive.suffix)
        assert not list(tmp_path.rglob("*.txt"))

    def test_links_are_refused(self, tmp_path):
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        with pytest.raises(DataError, match="link"):
            unpack(tar_with(tmp_path / "a.tar", link), tmp_path / "t")

    def test_sizes_are_bounded(self, tmp_path, monkeypatch):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros", b"\0" * 100_000)
        monkeypatch.setattr(archives, "MAX_BYTES", 50_000)
        with pytest.raises(ResourceError, match="hard to believe"):
            unpack(tmp_path / "a.zip", tmp_path / "t")

    def test_a_broken_archive_is_named(self, source, tmp_path):
        archive = zip_of(source / "pictures", tmp_path / "a.zip")
        data = bytearray(archive.read_bytes())
        data[60:200] = bytes(140)
        archive.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.zip is broken"):
            unpack(archive, tmp_path / "t")

"""Of a stream a sample is looked at, and what is unusable in it is named."""

import io
import json
import tarfile

import numpy as np
from made_sets import codes, entry, examined, finding, write_config
from PIL import Image


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_shard(path, captions, broken=()):
    with tarfile.open(path, "w") as archive:
        for number, caption in enumerate(captions):
            data = b"no picture" if number in broken else picture(number)
            row = json.dumps({"caption": caption}, ensure_ascii=False).encode()
            for name, content in ((f"{number:04d}.jpg", data), (f"{number:04d}.json", row)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def config(folder):
    info = {**entry(shards=str(folder / "00000.tar")), "kind": "webpair"}
    return write_config(folder, {"pairs": info})


def test_a_whole_stream(tmp_path):
    write_shard(tmp_path / "00000.tar", [f"nhãn {n}" for n in range(20)])
    examination = examined(config(tmp_path))
    (checkup,) = examination.checkups
    assert checkup.figures["samples"] == 20
    assert checkup.tokens.prompts.size == 20
    assert checkup.patient.samples_at([0])[0].turns[0].answer.startswith("nhãn")
    assert not examination.findings


def test_unusable_members_and_texts(tmp_path):
    captions = [f"nhãn {n}" for n in range(19)] + [" ".join(["chữ"] * 60)]
    captions[3] = ""
    write_shard(tmp_path / "00000.tar", captions, broken=(7,))
    examination = examined(config(tmp_path))
    said = " ".join(place.what for place in finding(examination, "unusable_member").places)
    assert "0003" in said
    assert "0007" in " ".join(
        f"{place.file} {place.what}" for each in examination.findings for place in each.places
    )
    cut = finding(examination, "text_cut").places
    assert cut and all("0019" in place.file and place.row is None for place in cut)


def test_shards_that_are_not_there(tmp_path):
    examination = examined(config(tmp_path))
    assert codes(examination) == {"cannot_open"}
    assert "00000.tar" in examination.findings[0].summary

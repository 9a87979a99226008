import io
import json
import tarfile
from pathlib import Path

import pytest
from berth.localcluster.errors import ImageError
from berth.localcluster.images import ScratchImage, references_in


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "tool"
    file.write_bytes(b"\x7fELF" + bytes(1000))
    return file


def test_an_image_is_the_same_bytes_when_written_twice(program: Path, tmp_path: Path) -> None:
    image = ScratchImage("tool", program)
    files = [image.write(tmp_path / folder).read_bytes() for folder in ("one", "two")]
    assert files[0] == files[1]


def test_the_tag_follows_the_content(program: Path) -> None:
    image = ScratchImage("tool", program)
    before = image.reference
    program.write_bytes(b"other")
    assert image.reference.startswith("berth.local/tool:")
    assert image.reference != before


def test_an_archive_says_its_names(program: Path, tmp_path: Path) -> None:
    image = ScratchImage("tool", program)
    assert references_in(image.write(tmp_path)) == [image.reference]


def _archive(folder: Path, **files: str) -> Path:
    path = folder / "image.tar"
    with tarfile.open(path, "w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_an_oci_archive_says_its_names(tmp_path: Path) -> None:
    manifests = [
        {
            "digest": "sha256:1",
            "annotations": {
                "io.containerd.image.name": "a.example/one:1",
                "org.opencontainers.image.ref.name": "1",
            },
        },
        {"digest": "sha256:2", "annotations": {"org.opencontainers.image.ref.name": "a.example/two:2"}},
        {"digest": "sha256:3"},
    ]
    archive = _archive(tmp_path, index_json=json.dumps({"manifests": manifests}))
    assert references_in(archive) == ["a.example/one:1", "a.example/two:2"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"manifest_json": '[{"Config": "c", "RepoTags": null, "Layers": []}]'}, "has no name"),
        ({"index_json": '{"manifests": [{"digest": "sha256:1"}]}'}, "has no name"),
        ({"manifest_json": "{"}, "is no image archive"),
        ({"manifest_json": "[1]"}, "is no image archive"),
        ({"other_txt": "hello"}, "neither manifest.json nor index.json"),
    ],
)
def test_what_is_no_named_image_is_refused_by_file(tmp_path: Path, files: dict[str, str], said: str) -> None:
    archive = _archive(tmp_path, **files)
    with pytest.raises(ImageError, match=said) as caught:
        references_in(archive)
    assert str(archive) in str(caught.value)


def test_what_is_no_archive_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        references_in(tmp_path / "absent.tar")
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(ImageError, match="is no image archive"):
        references_in(tmp_path / "text.tar")

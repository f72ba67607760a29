import gzip
import io

import pytest

from interp_jax.data import files


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_plain_and_packed_contents_are_read_alike_whatever_the_name(tmp_path, pack):
    path = tmp_path / "file"
    path.write_bytes(pack(b"contents"))
    with files.opened(path) as file:
        assert file.read() == b"contents"


@pytest.mark.parametrize("change", [lambda b: b[:-9], lambda b: b[:12] + b"\xff\xff\xff" + b[15:]])
def test_damage_names_the_file(tmp_path, change):
    path = tmp_path / "file"
    path.write_bytes(change(gzip.compress(b"contents" * 9, mtime=0)))
    with pytest.raises(ValueError, match=f"^{path}: damaged gzip: "), files.opened(path) as file:
        file.read()


def test_what_a_reader_finds_wrong_names_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"contents")
    with pytest.raises(ValueError, match=f"^{path}: too odd$"), files.opened(path):
        raise ValueError("too odd")


def test_no_more_is_taken_than_there_is():
    assert files.take(io.BytesIO(b"abc"), 2) == b"ab"
    assert files.take(io.BytesIO(b"abc"), 10**15) == b"abc"


def test_a_missing_file_comes_with_the_hint(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"^no name\\[.gz\\] in {tmp_path}: look elsewhere$"):
        files.present(tmp_path, "name", "look elsewhere")
    (tmp_path / "name.gz").touch()
    assert files.present(tmp_path, "name", "") == tmp_path / "name.gz"
    (tmp_path / "name").touch()
    assert files.present(tmp_path, "name", "") == tmp_path / "name"

import errno
import os
import stat

import pytest

from interp_jax.report import files


def test_replaces_whole_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "new" / "a.bin"
    files.replace(path, b"one")
    files.replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = files.replace(tmp_path / "a.bin", b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_others_may_read_what_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        mode = files.replace(tmp_path / "page.html", b"").stat().st_mode
    finally:
        os.umask(before)
    assert stat.S_IMODE(mode) == 0o644


def test_digest_is_sha256_of_the_standard_example():
    assert files.digest(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")  # FIPS 180-2, B.1

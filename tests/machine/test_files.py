"""Tests of mini_models.machine.files: written whole or not at all, and told apart."""

import hashlib

import pytest

from mini_models.machine.files import digest, whole, write_whole

# agrees with an independent implementation


def test_a_digest_is_sha256_of_the_parts_one_behind_the_other():
    assert digest("a", b"b", "明") == hashlib.sha256(b"ab" + "明".encode()).hexdigest()
    assert digest("ab", "明") == digest("a", "b明") != digest("明", "ab")
    # of nothing, as FIPS 180-4 has it
    assert digest() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("data", [b"\x00\xff\r\n", "床前明月光\n", b"", ""])
def test_what_is_written_is_there_byte_for_byte(tmp_path, data):
    write_whole(tmp_path / "file", data)
    expected = data.encode() if isinstance(data, str) else data
    assert (tmp_path / "file").read_bytes() == expected


# properties


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    write_whole(tmp_path / "a" / "b" / "file.txt", "text")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["file.txt"]


def test_who_reads_meanwhile_finds_what_was_there_before(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "old")
    with whole(path) as part:
        part.write_text("new")
        assert part != path and part.parent == path.parent and path.read_text() == "old"
    assert path.read_text() == "new" and not part.exists()


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    for broken in ("pathlib.Path.write_bytes", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(broken, full)
            with pytest.raises(OSError, match="No space"):
                write_whole(path, "new")
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_error_while_writing_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "old")
    with pytest.raises(KeyboardInterrupt), whole(path) as part:
        part.write_text("half of")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


# refuses


def test_what_is_no_text_and_no_bytes_is_refused():
    with pytest.raises(TypeError, match="buffer"):
        digest(3)

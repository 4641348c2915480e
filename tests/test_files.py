"""A file is the old one or the new one, never a part."""

import pytest

from lightning_gans.files import write_whole, written_whole


def test_new_content_takes_the_old_one_s_place(tmp_path):
    file = tmp_path / "below" / "scores.csv"  # its folder is made
    write_whole(file, "old")
    with written_whole(file) as part:
        part.write_text("ne")
        assert file.read_text() == "old"
        part.write_text("new")
    assert file.read_text() == "new"
    write_whole(file, b"bytes")
    assert file.read_bytes() == b"bytes"
    assert list(file.parent.iterdir()) == [file]


def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "scores.csv"
    write_whole(file, "old")

    def half():
        with written_whole(file) as part:
            part.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_writer_of_nothing_leaves_the_old_file(tmp_path):
    write_whole(tmp_path / "old.gif", "old")
    for name in ("old.gif", "new.gif"):
        with written_whole(tmp_path / name):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["old.gif"]


def test_names_of_files_of_any_bytes(tmp_path):
    write_whole(tmp_path / "names.txt", "\udcff.png")
    assert (tmp_path / "names.txt").read_bytes() == b"\xff.png"

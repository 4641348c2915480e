"""A file is the old one or the new one, never a part."""

import pytest

from lightning_gans.files import write_folder, write_whole, written_whole


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


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, full_disk):
    file = tmp_path / "scores.csv"
    write_whole(file, "old")
    full_disk(0)
    with pytest.raises(OSError, match=r"No space left on device.*scores\.csv'$"):
        write_whole(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"), written_whole(tmp_path / "a.txt") as part:
        part.write_bytes((tmp_path / "gone").read_bytes())


def test_a_folder_is_complete_or_the_error_says_how_much_of_it_there_is(tmp_path, full_disk):
    files = [(f"{i}/a.txt", b"0123") for i in range(5)]
    write_folder(tmp_path / "all", files, 5)
    assert len(list((tmp_path / "all").rglob("*.txt"))) == 5

    def broken():
        yield files[0]
        raise ValueError("the second is broken")

    with pytest.raises(ValueError, match=r"the second is broken.*1 of 2 files"):
        write_folder(tmp_path / "broken", broken(), 2)

    full_disk(3)
    with pytest.raises(OSError, match=r"No space left.*3/a\.txt.*3 of 5 files"):
        write_folder(tmp_path / "half", files, 5)
    written = [path for path in (tmp_path / "half").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in written] == [b"0123"] * 3


def test_a_file_of_a_folder_in_pieces(tmp_path):
    def pieces(*parts):
        for part in parts:
            if part is None:
                raise ValueError("a piece is broken")
            yield part

    write_folder(tmp_path, [("a/b.txt", pieces(b"01", b"", b"23"))], 1)
    assert (tmp_path / "a/b.txt").read_bytes() == b"0123"
    with pytest.raises(ValueError, match=r"a piece is broken.*0 of 1 files"):
        write_folder(tmp_path, [("a/b.txt", pieces(b"new", None))], 1)
    assert (tmp_path / "a/b.txt").read_bytes() == b"0123"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_names_of_files_of_any_bytes(tmp_path):
    write_whole(tmp_path / "names.txt", "\udcff.png")
    assert (tmp_path / "names.txt").read_bytes() == b"\xff.png"

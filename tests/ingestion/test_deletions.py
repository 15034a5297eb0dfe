"""A sync deletes nothing by accident, and follows files that move."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rag import Pipeline, TooManyDeletions
from rag.ingestion.changes import UNASKED_DELETIONS


def write_notes(folder: Path, count: int, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        (folder / f"note {i:02}.txt").write_text(f"Note {i}: the tide was {i} metres.\n")
    return folder


def names(pipeline: Pipeline) -> list[str]:
    """Return the last two parts of each path in the index."""
    return sorted("/".join(uri.split("/")[-2:]) for uri in pipeline.open().document_store.uris())


def test_an_empty_mount_point_deletes_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = write_notes(tmp_path / "mount", 20)
    pipeline.ingest(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(TooManyDeletions, match=r"20 of the 20 documents.*--allow-deletions") as c:
        pipeline.ingest(folder)
    assert (c.value.count, c.value.total) == (20, 20)
    assert len(names(pipeline)) == 20
    assert pipeline.ingest(folder, keep_missing=True).kept == 20
    assert pipeline.ingest(folder, allow_deletions=True).deleted == 20


@pytest.mark.parametrize(
    ("total", "lost", "is_refused"),
    [
        (20, 10, False),  # not more than ten
        (24, 12, False),  # not more than half
        (22, 12, True),
        (10, 10, False),  # a small folder may become empty
        (11, 11, True),
    ],
)
def test_only_most_of_a_source_is_asked_for(
    pipeline: Pipeline, tmp_path: Path, total: int, lost: int, is_refused: bool
) -> None:
    folder = write_notes(tmp_path / "docs", total)
    pipeline.ingest(folder)
    for path in sorted(folder.iterdir())[:lost]:
        path.unlink()
    write_notes(folder, 3, start=50)  # what is new does not hide what is lost
    if is_refused:
        with pytest.raises(TooManyDeletions):
            pipeline.ingest(folder)
        assert len(names(pipeline)) == total + 3
    else:
        assert pipeline.ingest(folder).deleted == lost


def test_one_of_two_sources_is_enough_to_stop(pipeline: Pipeline, tmp_path: Path) -> None:
    large = write_notes(tmp_path / "large", 40)
    small = write_notes(tmp_path / "small", UNASKED_DELETIONS + 1, start=60)
    pipeline.ingest(large, small)
    for path in small.iterdir():
        path.unlink()
    with pytest.raises(TooManyDeletions, match="small"):
        pipeline.ingest(large, small)


def test_a_folder_that_is_renamed_below_its_source_moves(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    write_notes(tmp_path / "docs" / "old", 15)
    pipeline.ingest(tmp_path / "docs")
    (tmp_path / "docs" / "old").rename(tmp_path / "docs" / "new")
    report = pipeline.ingest(tmp_path / "docs")
    assert (len(report.moved), report.embedded) == (15, 0)


def move(folder: Path, target: Path) -> None:
    folder.rename(target)


def move_deeper(folder: Path, target: Path) -> None:
    target.mkdir()
    folder.rename(target / "archive")


@pytest.mark.parametrize("do_move", [move, move_deeper])
def test_a_moved_folder_is_not_added_beside_the_old_one(
    pipeline: Pipeline, tmp_path: Path, do_move: Callable[[Path, Path], None]
) -> None:
    folder = write_notes(tmp_path / "docs", 3)
    write_notes(folder / "sub", 2, start=10)
    unmoved = write_notes(tmp_path / "other", 2, start=20)
    pipeline.ingest(folder, unmoved)
    target = tmp_path / "manuals"
    do_move(folder, target)
    edited = next(target.rglob("note 01.txt"))
    edited.write_text("Note 1: the tide was 99 metres.\n")
    report = pipeline.ingest(target)
    assert len(report.moved) == report.deleted == report.added == 5
    assert not [name for name in names(pipeline) if name.startswith("docs/")]
    assert len(names(pipeline)) == 7  # the other folder is as it was
    assert "99" in pipeline.ask("How high was the tide of note 1?").text


@pytest.mark.parametrize(("text", "is_moved"), [("99 metres", True), ("gone. " * 9, False)])
def test_a_moved_file_may_have_been_edited(
    pipeline: Pipeline, tmp_path: Path, text: str, is_moved: bool
) -> None:
    folder = write_notes(tmp_path / "docs", 1)
    pipeline.ingest(folder)
    folder.rename(tmp_path / "manuals")
    (tmp_path / "manuals" / "note 00.txt").write_text(f"Note 0: the tide was {text}.\n")
    assert len(pipeline.ingest(tmp_path / "manuals").moved) == is_moved


def test_a_copied_folder_is_added_beside_the_first(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = write_notes(tmp_path / "docs", 3)
    pipeline.ingest(folder)
    shutil.copytree(folder, tmp_path / "copy")
    report = pipeline.ingest(tmp_path / "copy")
    assert (report.moved, report.added, len(names(pipeline))) == ([], 3, 6)


def test_other_documents_of_a_folder_that_is_gone_stay(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = write_notes(tmp_path / "docs", 4)
    pipeline.ingest(folder)
    target = tmp_path / "manuals"
    folder.rename(target)
    (target / "note 03.txt").unlink()  # perhaps it is somewhere else now
    assert len(pipeline.ingest(target).moved) == 3
    assert "docs/note%2003.txt" in names(pipeline)


def test_a_tree_by_a_symbolic_link_is_indexed_once(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = write_notes(tmp_path / "docs", 3)
    link = tmp_path / "link"
    link.symlink_to(folder)
    for path, old_name in ((folder, ""), (link, "docs"), (folder, "link")):
        report = pipeline.ingest(path)
        assert len(names(pipeline)) == 3
        assert len(report.moved) == (3 if old_name else 0)
        assert all(name.startswith(f"{path.name}/") for name in names(pipeline))


def test_a_moved_single_file_moves(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = write_notes(tmp_path / "docs", 1)
    file = folder / "note 00.txt"
    pipeline.ingest(file)
    moved = tmp_path / "renamed.txt"
    file.rename(moved)
    assert [m.new.rsplit("/", 1)[1] for m in pipeline.ingest(moved).moved] == ["renamed.txt"]
    assert len(names(pipeline)) == 1


@pytest.mark.parametrize("content", ["one entry", "plain text", "one picture"])
def test_an_archive_that_lost_most_of_its_files_deletes_nothing(
    pipeline: Pipeline, tmp_path: Path, content: str
) -> None:
    archive = tmp_path / "docs" / "notes.zip"
    archive.parent.mkdir()
    write_zip(archive, {f"{i}.txt": f"Note {i}: the tide was {i} metres." for i in range(30)})
    (archive.parent / "a.txt").write_text("The pier is new.")
    pipeline.ingest(archive.parent)
    assert len(names(pipeline)) == 31
    if content == "plain text":
        archive.write_text("This is no archive.")
    else:
        write_zip(archive, {"x.txt" if content == "one entry" else "x.bin": "The tide was high."})
    with pytest.raises(TooManyDeletions, match=r"30 of the 30 documents.*notes\.zip"):
        pipeline.ingest(archive.parent)
    assert len(names(pipeline)) >= 31
    assert pipeline.ingest(archive.parent, allow_deletions=True).deleted == 30


def test_an_archive_may_lose_half_of_its_files(pipeline: Pipeline, tmp_path: Path) -> None:
    archive = tmp_path / "notes.zip"
    notes = {f"{i}.txt": f"Note {i}: the tide was {i} metres." for i in range(30)}
    write_zip(archive, notes)
    pipeline.ingest(archive)
    write_zip(archive, {name: notes[name] for name in list(notes)[:15]})
    assert pipeline.ingest(archive).deleted == 15


def write_zip(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text if not name.endswith(".bin") else b"\x00\x01\xff" * 50)

"""What a full disk, a folder that cannot be written to, and a dry run do to an index: nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors import Connector, Source
from connectors.base import Parser
from connectors.parser_pool import ParserLimits
from rag import Document, Pipeline, StaticEmbedder
from rag.index import maintenance
from rag.stores import Chroma
from tests.cli.test_rag import without_root_powers
from tests.conftest import Ran

# Fills a small file system of its own, ingests, frees it, and ingests again.
FULL_DISK = """
import os
import sys
from pathlib import Path
from rag import Pipeline
from rag.errors import RagError
from rag.index import maintenance
from rag.ingestion import batches

disk, docs = Path(sys.argv[1]), Path(sys.argv[2])
batches._BATCH_CHUNKS = 40
with Pipeline(index=disk / "index", processes=0) as pipeline:
    pipeline.ingest(docs / "handbook.md")
told = []
for room in range(40, 1200, 110):  # KiB
    ballast = disk / "ballast"
    file = os.open(ballast, os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(file, bytes(16_384)):
            pass
    except OSError:
        os.close(file)
    with ballast.open("r+b") as file:
        file.truncate(max(0, ballast.stat().st_size - room * 1024))
    with Pipeline(index=disk / "index", processes=0) as pipeline:
        try:
            pipeline.ingest(docs)
        except RagError as error:
            told.append(str(error))
    with Pipeline(index=disk / "index") as pipeline:
        assert pipeline.search("propeller"), "what was live is found"
    ballast.unlink()
    with Pipeline(index=disk / "index") as pipeline:
        for uri in pipeline.open().library.uris():  # each one whole
            pipeline.document(uri)
with Pipeline(index=disk / "index", processes=0) as pipeline:
    report = pipeline.ingest(docs)
    assert report.seen == 202, report
    assert maintenance.verify(pipeline.open()).problems == []
assert len(told) >= 3, told
print(*sorted(set(told)), sep="\\n")
"""


def without_root() -> bool:
    """Whether a process may mount a file system in a namespace of its own."""
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /tmp"]
    return (
        bool(shutil.which("unshare")) and not subprocess.run(probe, capture_output=True).returncode
    )


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path: Path, folder: Path) -> None:
    if not without_root():
        pytest.skip("no file system can be mounted here")
    for i in range(200):
        (folder / f"{i}.txt").write_text(f"Text number {i} is about the year {1800 + i}. " * 30)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=6m tmpfs {disk} && exec "$@"'
    command = [sys.executable, "-c", FULL_DISK, str(disk), str(folder)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "full" in done.stdout or "No space" in done.stdout


def test_an_index_that_cannot_be_written_to_is_still_searched(
    rag: Callable[..., Ran], tmp_path: Path, folder: Path
) -> None:
    assert rag("ingest", "docs").code == 0
    index = tmp_path / ".rag"
    folders = [index, *index.rglob("*")]
    for path in folders:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        before = contents(index)
        as_user = without_root_powers()
        found = rag("search", "propeller", via=as_user)
        assert found.code == 0, found.err
        assert "handbook.md" in found.out
        (folder / "notes.txt").write_text("Changed.")
        refused = rag("ingest", "docs", via=as_user)
        assert refused.code == 1
        assert "Permission denied" in refused.err
        planned = rag("ingest", "docs", "--dry-run", via=as_user)
        assert "would update 1, leave 1" in planned.out
        assert contents(index) == before
    finally:
        for path in folders:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert "1 updated" in rag("ingest", "docs").out


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def test_a_dry_run_tells_and_touches_nothing(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        planned = pipeline.ingest(folder, dry_run=True)
        assert not (tmp_path / "index").exists()
        done = pipeline.ingest(folder)
        assert (planned.added, planned.chunks) == (done.added, done.chunks) == (2, done.chunks)
        assert planned.embedded == done.embedded
    (folder / "notes.txt").rename(folder / "moved.txt")
    (folder / "new.txt").write_text("Something new.")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    before = contents(tmp_path / "index")
    with Pipeline(index=tmp_path / "index") as pipeline:
        planned = pipeline.ingest(folder, dry_run=True)
        kept = pipeline.ingest(folder, dry_run=True, keep_missing=True)
        other = Pipeline(index=tmp_path / "index", embedder=Priced())
        dearer = other.ingest(folder, dry_run=True)
    assert contents(tmp_path / "index") == before
    with Pipeline(index=tmp_path / "index") as pipeline:
        done = pipeline.ingest(folder)
    for report in (planned, done):
        assert (report.added, report.unchanged, report.deleted) == (2, 1, 1)
        assert len(report.failed) == 1
        assert [(m.old.rpartition("/")[2], m.new.rpartition("/")[2]) for m in report.moved] == [
            ("notes.txt", "moved.txt")
        ]
    assert (planned.embedded, planned.chunks) == (done.embedded, done.chunks)
    assert (kept.deleted, kept.kept) == (0, 1)
    assert planned.cost_usd == 0 and planned.tokens
    assert dearer.reembedded == 2
    assert dearer.tokens and dearer.cost_usd == pytest.approx(dearer.tokens * 2e-6)


class Priced(StaticEmbedder):
    """Has a price."""

    name = "priced"

    @property
    def usd_per_million_tokens(self) -> float:
        return 2.0


# -- parsing in other processes ------------------------------------------------------------


class Deadly(Parser):
    """Kills its process on some texts."""

    name = "deadly"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        if b"die" in data:
            os._exit(7)
        if b"hang" in data:
            while True:
                pass
        if b"fail" in data:
            raise ValueError("a bug")
        sys.stdout.write("noise\n")
        return Document(uri=uri, text=data.decode())


class Texts(Connector):
    """So many texts, made up; counts those in memory."""

    name = "texts"
    texts: tuple[str, ...]

    @property
    def scope(self) -> str:
        return "text:"

    def sources(self) -> Iterator[Source]:
        for i, text in enumerate(self.texts):
            yield Source(uri=f"text:{i}", version="1", read=text.encode)


def test_a_parser_that_crashes_costs_its_document(
    tmp_path: Path,
) -> None:
    texts = [f"Text number {i}." for i in range(30)]
    texts[3] = texts[17] = "die"
    texts[5] = "fail"
    for processes in (1, 3):
        with Pipeline(
            index=tmp_path / f"i{processes}", parser=Deadly(), processes=processes
        ) as pipeline:
            report = pipeline.ingest(Texts(texts=tuple(texts)))
            assert report.added == 27
            assert {f.uri: f.error for f in report.failed} == {
                "text:3": "the parser crashed on it (exit code 7)",
                "text:17": "the parser crashed on it (exit code 7)",
                "text:5": "a part failed (ValueError: a bug)",
            }
            assert maintenance.verify(pipeline.open()).problems == []


class Crashing(Parser):
    """Brings its process down on what is no text."""

    name = "crashing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        if data.startswith(b"%PDF"):
            os.abort()
        subprocess.run([sys.executable, "-c", "import sys; sys.stdin.read()"], check=True)
        return Document(uri=uri, text=data.decode())


def test_parsing_is_done_elsewhere(tmp_path: Path) -> None:
    """And a program that a parser starts cannot eat what the process is sent."""
    texts = ("one", "%PDF-1.7", "two", "three")
    with Pipeline(index=tmp_path / "i", parser=Crashing(), processes=1) as pipeline:
        report = pipeline.ingest(Texts(texts=texts))
    assert report.added == 3
    assert [f.error for f in report.failed] == ["the parser crashed on it (exit code -6)"]


def test_a_parser_that_hangs_costs_its_document(tmp_path: Path) -> None:
    limits = ParserLimits(seconds=2.0)
    with Pipeline(index=tmp_path / "i", parser=Deadly(), processes=1, limits=limits) as pipeline:
        report = pipeline.ingest(Texts(texts=("one", "hang", "two")))
    assert report.added == 2
    assert [f.error for f in report.failed] == ["parsing it takes more than 2 s (limits.seconds)"]


def test_processes_parse_what_this_one_parses(tmp_path: Path, folder: Path) -> None:
    shutil.copy(Path(__file__).parent.parent / "fixtures" / "encrypted.pdf", folder)
    reports = []
    for processes in (0, 2):
        with Pipeline(index=tmp_path / f"i{processes}", processes=processes) as pipeline:
            reports.append(pipeline.ingest(folder).as_json() | {"seconds": 0})
    assert reports[0] == reports[1]
    assert len(reports[0]["documents"]["failed"]) == 1


def test_only_some_documents_are_held_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader may be ahead of the writer by the length of the queues, not by the folder."""
    monkeypatch.setattr("rag.ingestion.batches._BATCH_CHUNKS", 4)
    read: list[int] = []
    ahead: list[int] = []

    class Counted(Texts):
        def sources(self) -> Iterator[Source]:
            for i, text in enumerate(self.texts):

                def reading(i: int = i, text: str = text) -> bytes:
                    read.append(i)
                    return text.encode()

                yield Source(uri=f"text:{i}", version="1", read=reading)

    texts = tuple(f"Text number {i}." for i in range(400))
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        pipeline.ingest(
            Counted(texts=texts), progress=lambda report: ahead.append(len(read) - report.seen)
        )
    assert len(read) == 400
    assert max(ahead) < 60


def test_the_vector_store_is_a_part_of_the_configuration() -> None:
    pipeline = Pipeline(vectors=Chroma(url="http://127.0.0.1:8000", store_text=True, batch=300))
    assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline
    typed = 'vectors: {type: chroma, url: "http://127.0.0.1:8000", store_text: true, batch: 300}'
    assert Pipeline.from_yaml(typed) == pipeline
    assert "url: http://127.0.0.1:8000" in pipeline.to_yaml()

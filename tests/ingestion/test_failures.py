"""Failures during an ingest: a full disk, a read-only index, crashing parsers; and dry runs."""

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
from tests.cli.test_index import drop_root_powers
from tests.conftest import CommandResult

# Fills a small file system, ingests, frees it, and ingests again.
HINT = "RAG_DEBUG=1 shows its output"
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
errors = []
for free_kib in range(40, 1200, 110):
    ballast = disk / "ballast"
    file = os.open(ballast, os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(file, bytes(16_384)):
            pass
    except OSError:
        os.close(file)
    with ballast.open("r+b") as file:
        file.truncate(max(0, ballast.stat().st_size - free_kib * 1024))
    with Pipeline(index=disk / "index", processes=0) as pipeline:
        try:
            pipeline.ingest(docs)
        except RagError as error:
            errors.append(str(error))
    with Pipeline(index=disk / "index") as pipeline:
        assert pipeline.search("propeller"), "live documents are still found"
    ballast.unlink()
    with Pipeline(index=disk / "index") as pipeline:
        for uri in pipeline.open().document_store.uris():  # each is complete
            pipeline.document(uri)
with Pipeline(index=disk / "index", processes=0) as pipeline:
    report = pipeline.ingest(docs)
    assert report.seen == 202, report
    assert maintenance.verify(pipeline.open()).problems == []
assert len(errors) >= 3, errors
print(*sorted(set(errors)), sep="\\n")
"""


def can_mount_without_root() -> bool:
    """Return whether a process can mount a file system in its own namespace."""
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /tmp"]
    return (
        bool(shutil.which("unshare")) and not subprocess.run(probe, capture_output=True).returncode
    )


@pytest.mark.slow
def test_a_full_disk_loses_no_documents(tmp_path: Path, folder: Path) -> None:
    if not can_mount_without_root():
        pytest.skip("no file system can be mounted here")
    for i in range(200):
        (folder / f"{i}.txt").write_text(f"Text number {i} is about the year {1800 + i}. " * 30)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=6m tmpfs {disk} && exec "$@"'
    command = [sys.executable, "-c", FULL_DISK, str(disk), str(folder)]
    completed = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", *command], capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr
    assert "full" in completed.stdout or "No space" in completed.stdout


SEARCH_ON_A_FULL_DISK = """
import sys
from pathlib import Path
from rag import Pipeline
from rag.errors import RagIndexError

disk, docs = map(Path, sys.argv[1:])
question = "How long does the battery last?"
with Pipeline(index=disk / "index", processes=0) as pipeline:
    pipeline.ingest(docs)
fill = (disk / "fill").open("wb", buffering=0)
try:
    while True:
        fill.write(b"x" * 4096)
except OSError:
    pass
with Pipeline(index=disk / "index", processes=0) as pipeline:
    assert "34 minutes" in pipeline.ask(question).text
    (docs / "new.md").write_text("The new kite is blue. " * 200)
    for _ in range(2):
        try:
            pipeline.ingest(docs)
        except RagIndexError as error:
            assert "no space left" in str(error), error
        else:
            raise AssertionError("the disk is not full")
        assert "34 minutes" in pipeline.ask(question).text
    fill.truncate(0)
    assert pipeline.ingest(docs).added == 1
    assert "blue" in pipeline.ask("What color is the new kite?").text
"""


CRASH_ON_A_FULL_DISK = """
import subprocess
import sys
from pathlib import Path
from rag import Pipeline
from rag.errors import RagIndexError

disk, docs = map(Path, sys.argv[1:])
index = disk / "index"
question = "How long does the battery last?"
ingest = f"pipeline = Pipeline(index={str(index)!r}, processes=0); pipeline.ingest({str(docs)!r})"
crash = f"import os; from rag import Pipeline; {ingest}; os.kill(os.getpid(), 9)"
subprocess.run([sys.executable, "-c", crash])
assert (index / "library.sqlite-wal").stat().st_size > 0
(index / "library.sqlite-shm").unlink()  # a machine without power does not keep it
fill = (disk / "fill").open("wb", buffering=0)
try:
    while True:
        fill.write(b"x" * 4096)
except OSError:
    pass
with Pipeline(index=index, processes=0) as pipeline:
    for _ in range(2):
        assert "34 minutes" in pipeline.ask(question).text
        try:
            pipeline.ingest(docs)
        except RagIndexError as error:
            assert "no space left" in str(error), error
        else:
            raise AssertionError("the disk is not full")
    fill.truncate(0)
    assert "34 minutes" in pipeline.ask(question).text
    (docs / "new.md").write_text("The new kite is blue. " * 200)
    assert pipeline.ingest(docs).added == 1
    assert "blue" in pipeline.ask("What color is the new kite?").text
"""


@pytest.mark.parametrize("script", [SEARCH_ON_A_FULL_DISK, CRASH_ON_A_FULL_DISK])
def test_a_new_process_searches_on_a_full_disk(tmp_path: Path, folder: Path, script: str) -> None:
    if not can_mount_without_root():
        pytest.skip("no file system can be mounted here")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=8m tmpfs {disk} && exec "$@"'
    command = [sys.executable, "-c", script, str(disk), str(folder)]
    completed = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", *command], capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr


FOLLOW_UPDATES = """
import sys
from pathlib import Path
from rag import Pipeline

with Pipeline(index=Path(sys.argv[1])) as pipeline:
    for line in sys.stdin:
        print(pipeline.ask(line).text.replace("\\n", " "), flush=True)
"""


def test_another_user_searches_and_sees_updates(tmp_path: Path, folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can write where another process of this user cannot")
    index = tmp_path / "index"
    old_umask = os.umask(0o022)
    try:
        with Pipeline(index=index) as pipeline:
            pipeline.ingest(folder)
        modes = {p: p.stat().st_mode & 0o044 for p in index.rglob("*") if p.is_file()}
        assert set(modes.values()) == {0o044}, modes
        for path in (index, *index.rglob("*")):  # the reader may not write, root still may
            if path.is_dir():
                path.chmod(0o555)
        reader = subprocess.Popen(
            [*drop_root_powers(), sys.executable, "-c", FOLLOW_UPDATES, str(index)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert reader.stdin is not None and reader.stdout is not None

        def ask() -> str:
            print("How long does the battery last?", file=reader.stdin, flush=True)
            return reader.stdout.readline()

        assert "34 minutes" in ask()
        for minutes in (41, 42, 43):
            text = f"# Kite 4\n\nA full battery lasts {minutes} minutes in calm air.\n"
            (folder / "handbook.md").write_text(text)
            with Pipeline(index=index) as pipeline:
                pipeline.ingest(folder)
            assert f"{minutes} minutes" in ask()
        with Pipeline(index=index) as pipeline:  # while the writer has it open, too
            (folder / "handbook.md").write_text("# Kite 4\n\nA full battery lasts 50 minutes.\n")
            pipeline.ingest(folder)
            assert "50 minutes" in ask()
        reader.communicate(timeout=60)
        assert reader.returncode == 0
    finally:
        os.umask(old_umask)
        for path in (index, *index.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)


def test_a_read_only_index_can_be_searched(
    rag: Callable[..., CommandResult], tmp_path: Path, folder: Path
) -> None:
    assert rag("ingest", "docs").code == 0
    index = tmp_path / ".rag"
    folders = [index, *index.rglob("*")]
    for path in folders:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        contents_before = read_contents(index)
        as_user = drop_root_powers()
        search_result = rag("search", "propeller", via=as_user)
        assert search_result.code == 0, search_result.err
        assert "handbook.md" in search_result.out
        (folder / "notes.txt").write_text("Changed.")
        ingest_result = rag("ingest", "docs", via=as_user)
        assert ingest_result.code == 1
        assert "Permission denied" in ingest_result.err
        dry_run_result = rag("ingest", "docs", "--dry-run", via=as_user)
        assert "would update 1, skip unchanged 1" in dry_run_result.out
        assert read_contents(index) == contents_before
    finally:
        for path in folders:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert "1 updated" in rag("ingest", "docs").out


def read_contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def test_a_dry_run_predicts_the_ingest_and_changes_nothing(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        dry_report = pipeline.ingest(folder, dry_run=True)
        assert not (tmp_path / "index").exists()
        ingest_report = pipeline.ingest(folder)
        assert (
            (dry_report.added, dry_report.chunks)
            == (ingest_report.added, ingest_report.chunks)
            == (2, ingest_report.chunks)
        )
        assert dry_report.embedded == ingest_report.embedded
    (folder / "notes.txt").rename(folder / "moved.txt")
    (folder / "new.txt").write_text("Something new.")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    contents_before = read_contents(tmp_path / "index")
    with Pipeline(index=tmp_path / "index") as pipeline:
        dry_report = pipeline.ingest(folder, dry_run=True)
        keeping_report = pipeline.ingest(folder, dry_run=True, keep_missing=True)
        priced_pipeline = Pipeline(index=tmp_path / "index", embedder=PricedEmbedder())
        priced_report = priced_pipeline.ingest(folder, dry_run=True)
    assert read_contents(tmp_path / "index") == contents_before
    with Pipeline(index=tmp_path / "index") as pipeline:
        ingest_report = pipeline.ingest(folder)
    for report in (dry_report, ingest_report):
        assert (report.added, report.unchanged, report.deleted) == (2, 1, 1)
        assert len(report.failed) == 1
        assert [
            (move.old.rpartition("/")[2], move.new.rpartition("/")[2]) for move in report.moved
        ] == [("notes.txt", "moved.txt")]
    assert (dry_report.embedded, dry_report.chunks) == (
        ingest_report.embedded,
        ingest_report.chunks,
    )
    assert (keeping_report.deleted, keeping_report.kept) == (0, 1)
    assert dry_report.cost_usd == 0 and dry_report.tokens
    assert priced_report.reembedded == 2
    assert priced_report.tokens and priced_report.cost_usd == pytest.approx(
        priced_report.tokens * 2e-6
    )


class PricedEmbedder(StaticEmbedder):
    """An embedder with a price."""

    name = "priced"

    @property
    def usd_per_million_tokens(self) -> float:
        return 2.0


# -- parsing in worker processes ------------------------------------------------------------


class CrashingParser(Parser):
    """A parser that exits, hangs or raises for some texts."""

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


class TextConnector(Connector):
    """Lists the given texts as sources."""

    name = "texts"
    texts: tuple[str, ...]

    @property
    def scope(self) -> str:
        return "text:"

    def sources(self) -> Iterator[Source]:
        for i, text in enumerate(self.texts):
            yield Source(uri=f"text:{i}", version="1", read=text.encode)


def test_a_parser_crash_fails_only_its_document(
    tmp_path: Path,
) -> None:
    texts = [f"Text number {i}." for i in range(30)]
    texts[3] = texts[17] = "die"
    texts[5] = "fail"
    for processes in (1, 3):
        with Pipeline(
            index=tmp_path / f"i{processes}", parser=CrashingParser(), processes=processes
        ) as pipeline:
            report = pipeline.ingest(TextConnector(texts=tuple(texts)))
            assert report.added == 27
            assert {f.uri: f.error for f in report.failed} == {
                "text:3": f"the parser process crashed (exit code 7; {HINT})",
                "text:17": f"the parser process crashed (exit code 7; {HINT})",
                "text:5": "a component failed (ValueError: a bug)",
            }
            assert maintenance.verify(pipeline.open()).problems == []


class AbortingParser(Parser):
    """A parser that aborts its process for PDF files, and starts a program for the others."""

    name = "crashing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        if data.startswith(b"%PDF"):
            os.write(2, b"\x1b]0;owned\x07")
            os.abort()
        subprocess.run([sys.executable, "-c", "import sys; sys.stdin.read()"], check=True)
        return Document(uri=uri, text=data.decode())


def test_parsers_abort_only_their_process_and_programs_cannot_read_requests(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = ("one", "%PDF-1.7", "two", "three")
    with Pipeline(index=tmp_path / "i", parser=AbortingParser(), processes=1) as pipeline:
        report = pipeline.ingest(TextConnector(texts=texts))
    assert report.added == 3
    assert [f.error for f in report.failed] == [
        f"the parser process crashed (exit code -6; {HINT})"
    ]
    assert "owned" not in capfd.readouterr().err  # what a parser prints may come from the file


def test_a_hanging_parser_fails_only_its_document(tmp_path: Path) -> None:
    limits = ParserLimits(seconds=2.0)
    with Pipeline(
        index=tmp_path / "i", parser=CrashingParser(), processes=1, limits=limits
    ) as pipeline:
        report = pipeline.ingest(TextConnector(texts=("one", "hang", "two")))
    assert report.added == 2
    assert [f.error for f in report.failed] == ["parsing takes more than 2 s (limits.seconds)"]


def test_worker_processes_give_the_same_report_as_this_process(
    tmp_path: Path, folder: Path
) -> None:
    shutil.copy(Path(__file__).parent.parent / "fixtures" / "encrypted.pdf", folder)
    reports = []
    for processes in (0, 2):
        with Pipeline(index=tmp_path / f"i{processes}", processes=processes) as pipeline:
            reports.append(pipeline.ingest(folder).as_json() | {"seconds": 0})
    assert reports[0] == reports[1]
    assert len(reports[0]["documents"]["failed"]) == 1


def test_only_a_limited_number_of_documents_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The readers are ahead of the writer by the length of the queues at most."""
    monkeypatch.setattr("rag.ingestion.batches._BATCH_CHUNKS", 4)
    read_numbers: list[int] = []
    lead_counts: list[int] = []

    class CountingConnector(TextConnector):
        def sources(self) -> Iterator[Source]:
            for i, text in enumerate(self.texts):

                def read_text(i: int = i, text: str = text) -> bytes:
                    read_numbers.append(i)
                    return text.encode()

                yield Source(uri=f"text:{i}", version="1", read=read_text)

    texts = tuple(f"Text number {i}." for i in range(400))
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        pipeline.ingest(
            CountingConnector(texts=texts),
            progress=lambda report: lead_counts.append(len(read_numbers) - report.seen),
        )
    assert len(read_numbers) == 400
    assert max(lead_counts) < 60


def test_the_vector_store_is_saved_in_the_configuration() -> None:
    pipeline = Pipeline(
        vector_store=Chroma(url="http://127.0.0.1:8000", store_text=True, batch=300)
    )
    assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline
    short_yaml = (
        'vector_store: {type: chroma, url: "http://127.0.0.1:8000", store_text: true, batch: 300}'
    )
    assert Pipeline.from_yaml(short_yaml) == pipeline
    assert "url: http://127.0.0.1:8000" in pipeline.to_yaml()

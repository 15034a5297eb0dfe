"""Changes to an index: re-embedding, maintenance, namespaces, permissions and concurrent writers."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Rag, error_line
from tests.conftest import CommandResult


def test_another_embedder_requires_reembedding(ingested_rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "from rag import Pipeline, StaticEmbedder\n"
        "class Other(StaticEmbedder):\n    name = 'other'\n"
        "pipeline = Pipeline(embedder=Other())\n"
    )
    other_embedder = ("-p", "other.py:pipeline")
    result = ingested_rag("ask", "battery", *other_embedder)
    assert result.code == 1
    line = error_line(result)
    assert "was built with the embedder static, and this pipeline has other" in line
    assert "rag ingest --dry-run" in line
    plan = ingested_rag("ingest", "docs", "--dry-run", *other_embedder)
    assert "would re-embed 2 documents with the new embedder" in plan.out
    assert "tokens, $0.00" in plan.out
    assert ingested_rag("ask", "battery").code == 0
    assert (
        "2 documents re-embedded; the index now uses the new embedder"
        in ingested_rag("ingest", "docs", *other_embedder).out
    )
    assert ingested_rag("ask", "battery", *other_embedder).code == 0
    assert "built with the embedder other" in error_line(ingested_rag("ask", "battery"))


def test_dry_run_changes_nothing(rag: Rag, folder: Path, tmp_path: Path) -> None:
    result = rag("ingest", "docs", "--dry-run")
    assert (result.code, sorted(tmp_path.iterdir())) == (0, [folder])
    assert result.out.startswith("would add 2\n")
    assert "Dry run: nothing was changed." in result.out
    plan = rag("ingest", "docs", "--dry-run", "--json").json
    assert plan["dry_run"] and plan["tokens"] > 10 and plan["cost_usd"] == 0


def test_keep_missing_keeps_documents(ingested_rag: Rag, folder: Path) -> None:
    (folder / "notes.txt").unlink()
    assert "1 unchanged, 1 missing but kept" in ingested_rag("ingest", "docs", "--keep-missing").out
    assert "1 unchanged, 1 deleted" in ingested_rag("ingest", "docs").out


def test_ingest_reports_moved_documents(ingested_rag: Rag, folder: Path) -> None:
    (folder / "notes.txt").rename(folder / "flights.txt")
    assert "1 added, 1 unchanged, 1 deleted (1 of them moved)" in ingested_rag("ingest", "docs").out


def test_index_maintenance_commands(ingested_rag: Rag, folder: Path, tmp_path: Path) -> None:
    assert "2 documents and" in ingested_rag("index", "verify").out
    assert ingested_rag("index", "snapshot", "first").code == 0
    (folder / "notes.txt").unlink()
    ingested_rag("ingest", "docs")
    assert ingested_rag("stats", "--json").json["documents"] == 1
    assert "restored first: 2 documents" in ingested_rag("index", "restore", "first").out
    assert ingested_rag("stats", "--json").json["documents"] == 2
    assert [s["name"] for s in ingested_rag("index", "list", "--json").json["snapshots"]] == [
        "first"
    ]
    assert "already" in error_line(ingested_rag("index", "snapshot", "first"))
    assert "no snapshot 'second'" in error_line(ingested_rag("index", "restore", "second"))
    assert "chunks in the new stores" in ingested_rag("index", "rebuild").out
    assert "MiB now" in ingested_rag("index", "compact").out
    (derived,) = (tmp_path / ".rag" / "derived").iterdir()
    shutil.rmtree(derived / "tantivy")
    result = ingested_rag("index", "verify")
    assert result.code == 1
    assert "words: there is no folder" in result.out
    assert "the next `rag ingest`" in error_line(ingested_rag("ask", "battery"))
    assert ingested_rag("index", "repair").code == 0
    assert ingested_rag("index", "verify", "--json").json["fine"]
    assert ingested_rag("ask", "How long does a full battery last?").code == 0


def test_restore_replaces_a_damaged_document_store(ingested_rag: Rag, tmp_path: Path) -> None:
    ingested_rag("index", "snapshot", "good")
    library = tmp_path / ".rag" / "library.sqlite"
    library.write_bytes(library.read_bytes()[:9_000])
    for command in (("ask", "battery"), ("ingest", "docs"), ("index", "repair")):
        assert "damaged" in error_line(ingested_rag(*command)) or "malformed" in error_line(
            ingested_rag(*command)
        )
    result = ingested_rag("index", "restore", "good")
    assert "restored good: 2 documents" in result.out
    assert "was moved to" in result.err
    assert ingested_rag("index", "verify").code == 0
    assert "34 minutes" in ingested_rag("ask", "How long does a full battery last?").out


def test_namespaces_are_isolated(rag: Rag, folder: Path) -> None:
    rag("ingest", "docs/handbook.md", "--namespace", "alice@example.org")
    rag("ingest", "docs/notes.txt", "--namespace", "Bob")
    assert "no index" in error_line(rag("search", "kite"))
    for namespace, name in (("alice@example.org", "handbook.md"), ("Bob", "notes.txt")):
        hits = rag("search", "kite", "--namespace", namespace, "--json").json["hits"]
        assert {hit["chunk"]["uri"].rpartition("/")[2] for hit in hits} == {name}
    assert "no namespace 'bob'" in error_line(rag("ask", "kite", "--namespace", "bob"))
    assert "is not a valid namespace name" in error_line(rag("ask", "kite", "--namespace", "a\nb"))
    assert rag("index", "drop", "Bob", "--yes").code == 0
    assert "no namespace 'Bob'" in error_line(rag("stats", "--namespace", "Bob"))


def drop_root_powers() -> list[str]:
    """Return a command prefix that makes file permissions apply to root, too."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("running as root without setpriv")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_ingest_reports_unreadable_files(rag: Rag, folder: Path) -> None:
    secret, locked = folder / "secret.txt", folder / "locked"
    secret.write_text("secret")
    locked.mkdir()
    (locked / "inside.txt").write_text("inside")
    secret.chmod(0)
    locked.chmod(0)
    result = rag("ingest", "docs", "--json", via=drop_root_powers())
    locked.chmod(0o755)
    assert result.code == 3
    failed = {f["uri"].rpartition("/")[2]: f["error"] for f in result.json["documents"]["failed"]}
    assert failed == {
        "secret.txt": "cannot be read: Permission denied",
        "locked": "the folder cannot be listed: Permission denied",
    }
    assert result.json["documents"]["added"] == 2


def test_ingest_reports_an_unwritable_index(rag: Rag, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = rag("ingest", "docs", "--index", "file")
    assert result.code == 1
    assert "file is a file: choose a folder" in error_line(result)
    result = rag("ingest", "docs", "--index", "/proc/nowhere")
    assert result.code == 1
    assert "cannot write the index" in error_line(result)


def test_second_writer_reports_the_lock_holder(ingested_rag: Rag, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from rag.index.write_lock import hold_write_lock\n"
            "with hold_write_lock(pathlib.Path('.rag')): print('held', flush=True); sys.stdin.read()",
        ],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    result = ingested_rag("ingest", "docs")
    search = ingested_rag("search", "battery")
    holder.communicate()
    assert result.code == 1
    assert f"process {holder.pid} on" in error_line(result)
    assert search.code == 0


def test_concurrent_ingests_lose_nothing(rag: Rag, folder: Path) -> None:
    results: list[CommandResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(rag("ingest", "docs"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.code for result in results)[0] == 0
    assert all("is writing to" in result.err for result in results if result.code)
    assert rag("ingest", "docs", "--json").json["documents"]["unchanged"] == 2
    assert rag("stats", "--json").json["documents"] == 2

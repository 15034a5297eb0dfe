"""The command as its users have it: a process, its output and its exit code."""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rag.cli.arguments import parse_where
from rag.errors import QueryError
from rag.types import Answer, Hit
from tests.conftest import API_KEY, ROOT, Ran

Rag = Callable[..., Ran]


def one_line(ran: Ran) -> str:
    """The last line of stderr, which is the only one that says `rag:`."""
    lines = ran.err.strip().splitlines()
    assert len([line for line in lines if line.startswith("rag:")]) == 1, ran.err
    return lines[-1]


@pytest.fixture
def ingested(rag: Rag, folder: Path) -> Rag:
    assert rag("ingest", "docs").code == 0
    return rag


def test_ingest_json(rag: Rag, folder: Path) -> None:
    first = rag("ingest", "docs", "--json")
    assert first.code == 0
    assert first.json["documents"] == {
        "added": 2,
        "updated": 0,
        "unchanged": 0,
        "deleted": 0,
        "failed": [],
        "moved": [],
        "kept": 0,
        "reembedded": 0,
    }
    assert first.json["chunks"] >= 2
    assert first.json["seconds"] > 0
    assert (folder.parent / ".rag" / "library.sqlite").exists()
    assert rag("ingest", "docs", "--json").json["documents"]["unchanged"] == 2


def test_ingest_for_people(rag: Rag, folder: Path) -> None:
    done = rag("ingest", "docs")
    assert "2 added" in done.out
    assert "index .rag" in done.out


def test_some_documents_fail(rag: Rag, folder: Path) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    (folder / "data.bin").write_bytes(bytes(range(256)) * 10)
    shutil.copy(ROOT / "tests" / "fixtures" / "encrypted.pdf", folder)
    done = rag("ingest", "docs", "--json")
    assert done.code == 3
    failed = {f["uri"].rpartition("/")[2]: f["error"] for f in done.json["documents"]["failed"]}
    assert failed.keys() == {"bad.pdf", "data.bin", "encrypted.pdf"}
    assert "password" in failed["encrypted.pdf"]
    assert "damaged" in failed["bad.pdf"]
    assert "binary" in failed["data.bin"]
    assert "failed: docs/bad.pdf:" in done.err
    assert rag("search", "battery").code == 0


def test_search_json_gives_hits(ingested: Rag) -> None:
    done = ingested("search", "battery", "-k", "1", "--json")
    (hit,) = [Hit.model_validate(hit) for hit in done.json["hits"]]
    assert "battery" in hit.chunk.text
    assert done.json.keys() == {"hits"}


def test_search_where(rag: Rag, folder: Path) -> None:
    for year in (2024, 2025):
        (folder / f"{year}.md").write_text(f"---\nyear: {year}\n---\nThe report on birds.\n")
    rag("ingest", "docs")
    found = rag("search", "birds", "--where", "year=2025", "--json").json["hits"]
    assert [hit["chunk"]["metadata"]["year"] for hit in found] == [2025]
    assert rag("search", "birds", "--where", "year").code == 2


def test_ask_json_gives_a_checked_answer(ingested: Rag) -> None:
    done = ingested("ask", "How long does charging take?", "--json")
    answer = Answer.model_validate(done.json)
    assert answer.status == "answered"
    assert "90 minutes" in answer.text
    for citation in answer.citations:
        span = ("--start", str(citation.start), "--end", str(citation.end))
        assert ingested("source", citation.uri, *span).out == citation.quote
        assert citation.verified


def test_ask_for_people(ingested: Rag) -> None:
    done = ingested("ask", "How long does charging take?")
    assert "Charging takes 90 minutes. [1]" in done.out
    assert "[1] docs/handbook.md  (characters" in done.out


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_ask_stream(ingested: Rag, flags: tuple[str, ...]) -> None:
    done = ingested("ask", "How long does charging take?", "--stream", *flags)
    assert done.code == 0
    if flags:
        assert "90 minutes" in done.err
        assert "90 minutes" in Answer.model_validate(done.json).text
    else:
        assert done.out.count("Charging takes 90 minutes. [1]") == 1


@pytest.mark.parametrize("flags", [(), ("--stream",)])
def test_abstention_shows_the_nearest_passages(ingested: Rag, flags: tuple[str, ...]) -> None:
    done = ingested("ask", "Who is the president of France?", *flags)
    assert done.code == 0
    assert done.out.count("could not find an answer") == 1
    assert "nearest passages:" in done.out


def test_chat(rag: Rag, folder: Path) -> None:
    done = rag(
        "chat", "docs", stdin="How long does charging take?\n\n/sources\n/nonsense\n/quit\nx\n"
    )
    assert done.code == 0
    assert "Charging takes 90 minutes. [1]" in done.out
    assert "handbook.md" in done.out
    assert "no such command: /nonsense" in done.err


def test_a_conversation_goes_on_and_explains_itself(rag: Rag, folder: Path) -> None:
    first = rag("chat", "docs", "--name", "kite", stdin="How long does the battery last?\n")
    assert first.code == 0 and "34 minutes" in first.out
    asked = "And how long does charging it take?\n/why\n/history\n/save talk.md\n/save talk.md\n"
    second = rag("chat", "--continue", stdin=asked + "/save talk.json\n/help\n")
    assert "understood as: And how long does charging it take? (battery)" in second.out
    assert "supported (1.00)" in second.out and "extractive" in second.out
    assert "1. How long does the battery last?" in second.out
    assert "is there already" in second.err
    assert "/save FILE" in second.out
    saved = folder.parent / "talk.md"
    assert saved.read_text().count("characters ") >= 2
    turns = json.loads((folder.parent / "talk.json").read_text())["turns"]
    assert [turn["number"] for turn in turns] == [1, 2]
    listed = rag("conversations", "list", "--json").json["conversations"]
    assert [(each["name"], each["turns"]) for each in listed] == [("kite", 2)]
    shown = rag("conversations", "show", "kite")
    assert "90 minutes" in shown.out and "handbook.md" in shown.out
    reset = rag("chat", "--name", "kite", stdin="/reset\n/why\n/sources\n/history\n/save\n")
    assert "nothing was asked yet" in reset.out and "say where to" in reset.err
    gone = rag("conversations", "delete", "kite")
    assert gone.code == 2 and "there is no conversation 'kite'" in one_line(gone)


def test_models_are_listed(rag: Rag) -> None:
    listed = {each["name"]: each for each in rag("models", "--json").json["models"]}
    assert {"openai", "azure-openai", "cohere", "llama-cpp", "scripted"} <= listed.keys()
    assert listed["cohere"]["extra"] == "cohere"
    assert "gpt-4.1-mini" in rag("models").out


def test_chat_without_an_index(rag: Rag) -> None:
    done = rag("chat")
    assert done.code == 1
    assert "no index at .rag: build one with `rag ingest SOURCE" in one_line(done)


def test_source_is_exact(rag: Rag, folder: Path) -> None:
    text = "# Ünï\r\n\r\ntwo  spaces, no end of line"
    (folder / "exact.md").write_bytes(text.encode())
    rag("ingest", "docs")
    uri = (folder / "exact.md").as_uri()
    for name in (uri, "docs/exact.md"):
        document = rag("source", name, "--json").json
        assert document["text"] == text
        assert document["uri"] == uri
        assert document["title"] == "Ünï"
        assert document["marks"][0]["value"] == ["Ünï"]
    part = rag("source", uri, "--start", "2", "--end", "5", "--json").json
    assert part["text"] == text[2:5]
    assert rag("source", uri, "--start", "5", "--end", "2").code == 2
    assert "no document" in one_line(rag("source", "docs/nothing.md"))


def test_delete(ingested: Rag, folder: Path) -> None:
    shutil.rmtree(folder)
    assert ingested("ingest", "docs").code == 2
    assert ingested("delete", "docs/notes.txt").out == "1 deleted\n"
    assert ingested("delete", folder.as_uri()).out == "1 deleted\n"
    done = ingested("delete", "docs")
    assert done.code == 1
    assert "holds nothing at docs" in one_line(done)
    assert ingested("stats", "--json").json["documents"] == 0


def test_source_takes_paths_as_people_write_them(rag: Rag, folder: Path) -> None:
    (folder / "meeting: notes.md").write_text("The meeting was short.")
    rag("ingest", "docs")
    for path in ("docs/../docs/notes.txt", "./docs/notes.txt"):
        assert rag("source", path).code == 0
    assert rag("source", "docs/meeting: notes.md").out == "The meeting was short."


def test_stats(ingested: Rag, folder: Path) -> None:
    stats = ingested("stats", "--json").json
    assert (stats["documents"], stats["embedder"], stats["failures"]) == (2, "static", [])
    assert "2 documents" in ingested("stats").out


def test_doctor_shows_no_key(ingested: Rag) -> None:
    for flags in ((), ("--json",)):
        done = ingested("doctor", *flags, OPENAI_API_KEY="sk-very-secret")
        assert done.code == 0
        assert "very-secret" not in done.out + done.err
    assert done.json["keys"] == {
        "OPENAI_API_KEY": True,
        "AZURE_OPENAI_API_KEY": False,
        "COHERE_API_KEY": False,
        "CHROMA_API_KEY": False,
        "IMAP_PASSWORD": False,
    }
    assert done.json["index"]["state"].startswith("opens, 2 documents")


def test_doctor_tells_of_a_broken_index(ingested: Rag, tmp_path: Path) -> None:
    (tmp_path / ".rag" / "library.sqlite").write_bytes(b"broken" * 1000)
    done = ingested("doctor")
    assert done.code == 1
    assert "IndexDamaged" in done.out


def test_prompts(rag: Rag, tmp_path: Path) -> None:
    listed = rag("prompts", "list", "--json").json["prompts"]
    assert "grounded" in [prompt["name"] for prompt in listed]
    shown = rag("prompts", "show", "grounded")
    assert shown.out == (ROOT / "prompts" / "templates" / "grounded.md").read_text()
    missing = rag("prompts", "show", "nothing")
    assert missing.code == 2
    assert "no prompt is called 'nothing'" in one_line(missing)


# -- pipelines -----------------------------------------------------------------------------


def test_pipeline_from_yaml(ingested: Rag, tmp_path: Path) -> None:
    (tmp_path / "lexical.yaml").write_text("retriever: {type: lexical}\nk: 1\n")
    (hit,) = ingested("search", "battery", "-p", "lexical.yaml", "--json").json["hits"]
    assert hit["stage_scores"].keys() == {"lexical"}


def test_pipeline_from_a_file_or_module(ingested: Rag, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rag import LexicalRetriever, Pipeline\n"
        "pipeline = Pipeline(retriever=LexicalRetriever(), k=1)\n"
        "def make():\n    return pipeline\n"
    )
    for target in ("mine.py:pipeline", "mine.py:make", "mine:pipeline"):
        (hit,) = ingested("search", "battery", "-p", target, "--json").json["hits"]
        assert hit["stage_scores"].keys() == {"lexical"}


def test_index_wins_over_a_pipeline_that_is_open(ingested: Rag, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rag import Pipeline\npipeline = Pipeline(index='own')\npipeline.ingest('docs')\n"
    )
    done = ingested("ingest", "docs/notes.txt", "-p", "mine.py:pipeline", "--index", "other")
    assert done.code == 0
    assert ingested("stats", "--index", "other", "--json").json["documents"] == 1
    assert ingested("stats", "--index", "own", "--json").json["documents"] == 2


def test_the_working_directory_hides_nothing(ingested: Rag, tmp_path: Path) -> None:
    for package in ("prompts", "connectors", "evals"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "mine.py").write_text("from rag import Pipeline\npipeline = Pipeline()\n")
    assert ingested("ask", "How long does charging take?").code == 0
    assert ingested("search", "battery", "-p", "mine:pipeline").code == 0


@pytest.mark.parametrize(
    ("target", "files", "message"),
    [
        ("nothing.yaml", {}, "cannot be read"),
        ("bad.yaml", {"bad.yaml": "k: [1"}, "not YAML"),
        ("bad.yaml", {"bad.yaml": "- 1"}, "a pipeline is a mapping"),
        ("bad.yaml", {"bad.yaml": "retreiver: hybrid"}, "retreiver: no such setting"),
        (
            "bad.yaml",
            {"bad.yaml": "retriever: {type: hybird}"},
            "no retriever is registered as 'hybird'",
        ),
        (
            "bad.yaml",
            {"bad.yaml": "retriever: {type: hybrid, weight: 2}"},
            "weight: input should be less",
        ),
        (
            "bad.yaml",
            {"bad.yaml": "k: !!python/object/apply:os.system ['touch pwned']"},
            "not YAML",
        ),
        ("nothing.py:x", {}, "no such file"),
        ("mine.py:x", {"mine.py": "y = 1"}, "has no attribute 'x'"),
        ("mine.py:y", {"mine.py": "y = 1"}, "is a int, not a rag.Pipeline"),
        ("mine.py:y", {"mine.py": "1/0"}, "ZeroDivisionError"),
        ("mine.py:y", {"mine.py": "def y(): 1/0"}, "ZeroDivisionError"),
        ("mine.py:y", {"mine.py": "def y(needed): pass"}, "TypeError"),
        ("no.such.module:x", {}, "ModuleNotFoundError"),
        ("nonsense", {}, "give module:attribute"),
    ],
)
def test_wrong_pipelines(
    rag: Rag, tmp_path: Path, target: str, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = rag("search", "x", "-p", target)
    assert done.code == 2
    assert message in one_line(done)
    assert not (tmp_path / "pwned").exists()


# -- wrong use and failures ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ingest", "nowhere"), 2, "no such file or folder"),
        (("ingest", "gopher://bucket"), 2, "no connector reads gopher://"),
        (("ask", ""), 2, "the question is empty"),
        (("ask", "  \n"), 2, "the question is empty"),
        (("search", "x" * 30_000), 2, "30,000 characters"),
        (("search", "x", "--where", "novalue"), 2, "give FIELD=VALUE"),
        (("search", "x", "--where", '{"or":'), 2, "not JSON"),
        (("search", "x", "--where", '{"field": "a", "op": "~"}'), 2, "no such operator"),
        (("ingest", "docs", "--index", "."), 1, "holds no index but other things"),
        (("ingest", ".rag"), 2, "is the folder of an index, not a source"),
    ],
)
def test_wrong_input_is_one_line(
    ingested: Rag, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = ingested(*arguments)
    assert (done.code, done.out) == (code, "")
    assert message in one_line(done)


@pytest.mark.parametrize(
    "arguments", [("ingest",), ("search", "x", "-k", "0"), ("nonsense",), ("ask",)]
)
def test_usage_errors(rag: Rag, arguments: tuple[str, ...]) -> None:
    done = rag(*arguments)
    assert done.code == 2
    assert done.err.startswith("Usage: rag")


def test_no_index(rag: Rag) -> None:
    for command in (("ask", "x"), ("search", "x"), ("source", "x"), ("stats",)):
        done = rag(*command, "--index", "elsewhere")
        assert done.code == 1
        assert "no index at elsewhere" in one_line(done)


def test_another_embedder(ingested: Rag, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "from rag import Pipeline, StaticEmbedder\n"
        "class Other(StaticEmbedder):\n    name = 'other'\n"
        "pipeline = Pipeline(embedder=Other())\n"
    )
    other = ("-p", "other.py:pipeline")
    done = ingested("ask", "battery", *other)
    assert done.code == 1
    line = one_line(done)
    assert "was built with the embedder static, and this pipeline has other" in line
    assert "rag ingest --dry-run" in line
    planned = ingested("ingest", "docs", "--dry-run", *other)
    assert "would embed 2 documents again with another embedder" in planned.out
    assert "tokens, $0.00" in planned.out
    assert ingested("ask", "battery").code == 0
    assert "2 documents embedded again, and switched over" in ingested("ingest", "docs", *other).out
    assert ingested("ask", "battery", *other).code == 0
    assert "built with the embedder other" in one_line(ingested("ask", "battery"))


def test_a_dry_run_makes_nothing(rag: Rag, folder: Path, tmp_path: Path) -> None:
    done = rag("ingest", "docs", "--dry-run")
    assert (done.code, sorted(tmp_path.iterdir())) == (0, [folder])
    assert done.out.startswith("would add 2\n")
    assert "nothing was touched" in done.out
    planned = rag("ingest", "docs", "--dry-run", "--json").json
    assert planned["dry_run"] and planned["tokens"] > 10 and planned["cost_usd"] == 0


def test_missing_documents_can_be_kept(ingested: Rag, folder: Path) -> None:
    (folder / "notes.txt").unlink()
    assert "1 unchanged, 1 missing and kept" in ingested("ingest", "docs", "--keep-missing").out
    assert "1 unchanged, 1 deleted" in ingested("ingest", "docs").out


def test_a_moved_document_is_called_so(ingested: Rag, folder: Path) -> None:
    (folder / "notes.txt").rename(folder / "flights.txt")
    assert "1 added, 1 unchanged, 1 deleted (1 of them moved)" in ingested("ingest", "docs").out


def test_care_of_an_index(ingested: Rag, folder: Path, tmp_path: Path) -> None:
    assert "2 documents and" in ingested("index", "verify").out
    assert ingested("index", "snapshot", "first").code == 0
    (folder / "notes.txt").unlink()
    ingested("ingest", "docs")
    assert ingested("stats", "--json").json["documents"] == 1
    assert "restored first: 2 documents" in ingested("index", "restore", "first").out
    assert ingested("stats", "--json").json["documents"] == 2
    assert [s["name"] for s in ingested("index", "list", "--json").json["snapshots"]] == ["first"]
    assert "already" in one_line(ingested("index", "snapshot", "first"))
    assert "no snapshot 'second'" in one_line(ingested("index", "restore", "second"))
    assert "chunks in new stores" in ingested("index", "rebuild").out
    assert "MiB now" in ingested("index", "compact").out
    (derived,) = (tmp_path / ".rag" / "derived").iterdir()
    shutil.rmtree(derived / "tantivy")
    done = ingested("index", "verify")
    assert done.code == 1
    assert "words: there is no folder" in done.out
    assert "the next `rag ingest`" in one_line(ingested("ask", "battery"))
    assert ingested("index", "repair").code == 0
    assert ingested("index", "verify", "--json").json["fine"]
    assert ingested("ask", "How long does a full battery last?").code == 0


def test_a_destroyed_library_is_restored(ingested: Rag, tmp_path: Path) -> None:
    ingested("index", "snapshot", "good")
    library = tmp_path / ".rag" / "library.sqlite"
    library.write_bytes(library.read_bytes()[:9_000])
    for command in (("ask", "battery"), ("ingest", "docs"), ("index", "repair")):
        assert "damaged" in one_line(ingested(*command)) or "malformed" in one_line(
            ingested(*command)
        )
    done = ingested("index", "restore", "good")
    assert "restored good: 2 documents" in done.out
    assert "kept as" in done.err
    assert ingested("index", "verify").code == 0
    assert "34 minutes" in ingested("ask", "How long does a full battery last?").out


def test_namespaces_know_nothing_of_each_other(rag: Rag, folder: Path) -> None:
    rag("ingest", "docs/handbook.md", "--namespace", "alice@example.org")
    rag("ingest", "docs/notes.txt", "--namespace", "Bob")
    assert "no index" in one_line(rag("search", "kite"))
    for namespace, name in (("alice@example.org", "handbook.md"), ("Bob", "notes.txt")):
        hits = rag("search", "kite", "--namespace", namespace, "--json").json["hits"]
        assert {hit["chunk"]["uri"].rpartition("/")[2] for hit in hits} == {name}
    assert "no namespace 'bob'" in one_line(rag("ask", "kite", "--namespace", "bob"))
    assert "is no name" in one_line(rag("ask", "kite", "--namespace", "a\nb"))
    assert rag("index", "drop", "Bob", "--yes").code == 0
    assert "no namespace 'Bob'" in one_line(rag("stats", "--namespace", "Bob"))


def test_a_question_in_another_script(ingested: Rag) -> None:
    done = ingested("ask", "电池能用多久？", "--json")
    assert done.code == 0
    assert done.json["status"] == "abstained"


def without_root_powers() -> list[str]:
    """What to run a command through, so that permissions hold even for root."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to give up its powers")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_no_permission(rag: Rag, folder: Path) -> None:
    secret, locked = folder / "secret.txt", folder / "locked"
    secret.write_text("secret")
    locked.mkdir()
    (locked / "inside.txt").write_text("inside")
    secret.chmod(0)
    locked.chmod(0)
    done = rag("ingest", "docs", "--json", via=without_root_powers())
    locked.chmod(0o755)
    assert done.code == 3
    failed = {f["uri"].rpartition("/")[2]: f["error"] for f in done.json["documents"]["failed"]}
    assert failed == {
        "secret.txt": "cannot be read: Permission denied",
        "locked": "the folder cannot be listed: Permission denied",
    }
    assert done.json["documents"]["added"] == 2


def test_an_index_that_cannot_be_written(rag: Rag, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = rag("ingest", "docs", "--index", "file")
    assert done.code == 1
    assert "file is a file: name a folder" in one_line(done)
    done = rag("ingest", "docs", "--index", "/proc/nowhere")
    assert done.code == 1
    assert "cannot write the index" in one_line(done)


def test_a_second_writer_is_told_who_holds_the_lock(ingested: Rag, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from rag.index.write_lock import write_lock\n"
            "with write_lock(pathlib.Path('.rag')): print('held', flush=True); sys.stdin.read()",
        ],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    done = ingested("ingest", "docs")
    found = ingested("search", "battery")
    holder.communicate()
    assert done.code == 1
    assert f"process {holder.pid} on" in one_line(done)
    assert found.code == 0


GROUNDED = (
    "generator:\n  type: grounded\n  model:\n    type: openai\n    model: m\n"
    "    base_url: {url}\n    retries: 0\n    max_output_tokens: 20\n"
)


def test_an_unreachable_endpoint(ingested: Rag, tmp_path: Path) -> None:
    (tmp_path / "llm.yaml").write_text(GROUNDED.format(url="http://127.0.0.1:9/v1"))
    done = ingested("ask", "battery", "-p", "llm.yaml")
    assert done.code == 1
    assert "cannot reach http://127.0.0.1:9/v1: is the server running?" in one_line(done)


@pytest.mark.slow
def test_a_wrong_and_a_right_api_key(ingested: Rag, tmp_path: Path, llama_url: str) -> None:
    (tmp_path / "llm.yaml").write_text(GROUNDED.format(url=llama_url))
    wrong = ingested("ask", "battery", "-p", "llm.yaml", OPENAI_API_KEY="sk-wrong-secret")
    assert wrong.code == 1
    assert "refused the API key" in one_line(wrong)
    assert "wrong-secret" not in wrong.err
    right = ingested("ask", "battery", "-p", "llm.yaml", "--json", OPENAI_API_KEY=API_KEY)
    assert right.code == 0
    Answer.model_validate(right.json)


def test_odd_input_is_taken(ingested: Rag) -> None:
    for arguments in (
        ("search", "\udcff battery"),
        ("search", "battery", "--where", "title=\udcff"),
        ("search", "battery", "--where", "year=99999999999999999999999"),
        ("search", "???"),
    ):
        done = ingested(*arguments)
        assert done.code == 0, (arguments, done.err)
    assert "nothing found" in done.out


def test_output_can_be_cut_off(ingested: Rag, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("rag")
    process = subprocess.Popen(
        [str(command), "search", "battery", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert b"Traceback" not in err


def test_two_ingests_at_once_lose_nothing(rag: Rag, folder: Path) -> None:
    ran: list[Ran] = []
    threads = [threading.Thread(target=lambda: ran.append(rag("ingest", "docs"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.code for r in ran)[0] == 0
    assert all("is writing to" in r.err for r in ran if r.code)
    assert rag("ingest", "docs", "--json").json["documents"]["unchanged"] == 2
    assert rag("stats", "--json").json["documents"] == 2


# -- parsing what people type --------------------------------------------------------------


def test_where_readings() -> None:
    where = parse_where(["a=b", "n=3", "t!=true", "e=x=y", "y >= 2020", "d<2024-05", "{}"])
    assert where is not None
    assert where.to_json() == {
        "and": [
            {"field": "a", "op": "==", "value": "b"},
            {"field": "n", "op": "in", "value": ["3", 3]},
            {"not": {"field": "t", "op": "in", "value": ["true", True]}},
            {"field": "e", "op": "==", "value": "x=y"},
            {"field": "y", "op": ">=", "value": 2020},
            {"field": "d", "op": "<", "value": "2024-05"},
            {"and": []},
        ]
    }
    assert parse_where([]) is None
    with pytest.raises(QueryError):
        parse_where(["=x"])


def test_help_names_every_command(rag: Rag) -> None:
    shown = rag("--help").out
    for command in ("ingest", "search", "ask", "chat", "source", "stats", "doctor", "prompts"):
        assert f"  {command} " in shown
        assert rag(command, "--help").code == 0


def test_json_holds_nothing_else(ingested: Rag) -> None:
    for command in (("ingest", "docs"), ("search", "x"), ("ask", "x"), ("stats",), ("doctor",)):
        json.loads(ingested(*command, "--json").out)


def test_progress_on_a_terminal(tmp_path: Path, folder: Path) -> None:
    """A bar with the number of documents, and nothing of it left behind."""
    for i in range(1_500):
        (folder / f"{i}.txt").write_text(f"Text number {i}.")
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name("rag")), "ingest", "docs"]
    done = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while part := os.read(ours, 65_536):
            shown += part
    os.close(ours)
    out, _ = done.communicate()
    assert done.returncode == 0
    assert "1,502 added" in out
    assert "of 1,502 documents" in shown.decode()
    assert "chunks/s" in shown.decode()


def test_progress_says_what_is_done_and_left() -> None:
    from rag.cli.output import duration, progress_line
    from rag.ingestion import Failure, IngestReport

    report = IngestReport(added=100, chunks=900, seconds=60.0, total=1_101)
    report.failed.append(Failure("u", "broken"))
    assert progress_line(report) == (
        "101 of 1,101 documents, 900 chunks, 15 chunks/s, 1 failed, 9 min 54 s left"
    )
    assert progress_line(IngestReport(added=3)) == "3 documents, 0 chunks"
    assert duration(7_260) == "2 h 1 min"
    assert duration(0.2) == "0 s"

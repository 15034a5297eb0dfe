"""The first minute: what a new user types, and what the command line says."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag import Pipeline
from rag.cli.chat import complete
from rag.cli.output import format_progress
from rag.ingestion import IngestReport
from rag.testing import ModelServer
from rag.testing.model_server import REPLY
from tests.conftest import API_KEY, ROOT, CommandResult

Rag = Callable[..., CommandResult]
RAG = str(Path(sys.executable).with_name("rag"))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "manuals").mkdir(parents=True)
    (folder / "kite.md").write_text("# Kite 4\n\nThe battery lasts 34 minutes.\n")
    (folder / "manuals" / "desk.md").write_text("# Desk\n\nThe desk opens at 8:30.\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    return folder


# -- rag init ------------------------------------------------------------------------------


def test_init_ingest_ask(rag: Rag, docs: Path, tmp_path: Path) -> None:
    result = rag("init")
    assert result.code == 0 and "rag ingest" in result.out
    assert rag("ingest").code == 3  # one file is broken
    assert "34 minutes" in rag("ask", "How long does the battery last?").out
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / "questions.jsonl").read_text())["answers"]
    again = rag("init")
    assert again.code == 2 and "--force" in again.err
    assert rag("init", "--force", "--documents", "manuals").code == 0
    assert yaml.safe_load((tmp_path / "rag.yaml").read_text())["sources"] == ["manuals"]


def test_every_command_finds_the_file(rag: Rag, docs: Path, tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text("index: elsewhere\nsources: [docs]\nk: 1\n")
    rag("ingest")
    assert (tmp_path / "elsewhere").is_dir() and not (tmp_path / ".rag").exists()
    assert len(rag("search", "battery", "--json").json["hits"]) == 1
    for arguments in (("stats",), ("documents",), ("conversations", "list"), ("index", "verify")):
        assert rag(*arguments).code == 0, arguments
    assert rag("stats", "-p", str(tmp_path / "none.yaml")).code != 0


def test_a_command_in_a_subfolder_says_where_the_pipeline_is(
    rag: Rag, docs: Path, tmp_path: Path
) -> None:
    rag("init")
    process = subprocess.run(
        [RAG, "ask", "How long?"], cwd=tmp_path / "docs", capture_output=True, text=True
    )
    assert f"({tmp_path / 'rag.yaml'} is only used by commands in its own folder)" in process.stderr
    result = rag("ask", "How long?")
    assert "no index at" in result.err and "only used" not in result.err


def test_a_model_of_init_answers(rag: Rag, docs: Path, tmp_path: Path) -> None:
    assert rag("init", "--model", "ollama:m").code == 0
    with ModelServer() as server:
        config = yaml.safe_load((tmp_path / "rag.yaml").read_text())
        assert config["generator"]["model"] == "ollama:m"
        config["generator"]["model"] = {"type": "ollama", "model": "m", "base_url": server.url}
        (tmp_path / "rag.yaml").write_text(yaml.safe_dump(config))
        rag("ingest")
        assert REPLY.split("[")[0].strip() in rag("ask", "How long does the battery last?").out
        assert "34 minutes" in rag("ask", "--model", "none", "How long does it last?").out


def test_components_are_chosen_without_a_pipeline_file(rag: Rag, docs: Path) -> None:
    rag("ingest", "docs", "--namespace", "n")
    with ModelServer() as server:
        options = ("--namespace", "n", "-k", "1", "--where", "uri=docs/kite.md", "--json")
        answer = rag(
            "ask",
            "How long does the battery last?",
            *("--model", "openai:m", "--embedder", "static", *options),
            OPENAI_BASE_URL=server.url,
            OPENAI_API_KEY=API_KEY,
        ).json
        assert answer["usage"]["calls"] == 1
        assert [hit["chunk"]["uri"].rpartition("/")[2] for hit in answer["hits"]] == ["kite.md"]
        result = rag("ask", "x", "--namespace", "n", "--reranker", "nonsense:m")
        assert result.code == 2 and "nonsense" in result.err


def test_the_readme_begins_with_the_first_minute() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    beginning = readme[: readme.index("## From a clone")]
    for text in (
        "pip install citewell",
        "uv tool install citewell",
        "rag init",
        "rag ingest",
        "rag ask",
        "--model",
        "(docs/troubleshooting.md)",
    ):
        assert text in beginning, text


def test_the_files_of_init_are_no_documents(rag: Rag, docs: Path, tmp_path: Path) -> None:
    assert rag("init", "--documents", ".").code == 0
    (tmp_path / "questions.jsonl").write_text('{"question": "Who?", "answers": ["Ada"]}')
    rag("ingest")
    names = {
        info["uri"].rpartition("/")[2] for info in rag("documents", "--json").json["documents"]
    }
    assert "kite.md" in names and not names & {"rag.yaml", "questions.jsonl", ".env"}
    assert (tmp_path / ".ragignore").read_text() == "questions.jsonl\n"
    rag("init", "--documents", ".", "--force")
    assert (tmp_path / ".ragignore").read_text() == "questions.jsonl\n"


def test_init_of_another_folder_writes_no_ragignore(rag: Rag, docs: Path, tmp_path: Path) -> None:
    rag("init", "--documents", "docs")
    assert not (tmp_path / ".ragignore").exists()


@pytest.mark.parametrize("documents", ["", " "])
def test_init_refuses_an_empty_folder_name(rag: Rag, tmp_path: Path, documents: str) -> None:
    assert rag("init", "--documents", documents).code == 2
    assert not (tmp_path / "rag.yaml").exists()


def test_init_does_not_ask_for_a_folder_at_an_address(rag: Rag) -> None:
    result = rag("init", "--documents", "https://example.org/sitemap.xml")
    assert result.code == 0 and "Put your documents" not in result.out


def test_init_asks_again_after_a_wrong_model(docs: Path, tmp_path: Path) -> None:
    printed = talk("init", "--documents", "docs", folder=tmp_path, says="nonsense:x\nno.gguf\n0\n")
    assert "nonsense" in printed and "there is no file no.gguf" in printed
    assert (tmp_path / "rag.yaml").exists()


@pytest.mark.parametrize("model", ["nonsense:x", "openai:", "missing.gguf:", "missing.gguf"])
def test_init_refuses_a_model_that_cannot_be(rag: Rag, tmp_path: Path, model: str) -> None:
    assert rag("init", "--model", model).code == 2
    assert not (tmp_path / "rag.yaml").exists()


def test_init_hides_what_git_must_not_see(rag: Rag, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.pyc")
    rag("init", "--documents", 'a "quoted" folder: #1')
    assert (tmp_path / ".gitignore").read_text().split() == ["*.pyc", ".env", ".rag/"]
    assert Pipeline.from_yaml(tmp_path / "rag.yaml").sources == ('a "quoted" folder: #1',)


def test_nothing_to_ingest_is_said(rag: Rag) -> None:
    result = rag("ingest")
    assert result.code == 2 and "name a SOURCE" in result.err


# -- without an index ----------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("ask", "x"), ("search", "x"), ("chat",), ("documents",)])
def test_a_missing_index_names_the_command(rag: Rag, arguments: tuple[str, ...]) -> None:
    result = rag(*arguments)
    assert result.code != 0 and "rag ingest" in result.err


def test_an_empty_index_names_the_command(rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    rag("ingest", "docs")
    result = rag("ask", "How long?")
    assert result.code == 1
    assert "rag ingest" in result.err


# -- documents and deletion ----------------------------------------------------------------


def test_documents_are_listed_with_their_state(rag: Rag, docs: Path) -> None:
    rag("ingest", "docs")
    listed = rag("documents")
    assert "docs/kite.md" in listed.out and "docs/manuals/desk.md" in listed.out
    assert "broken.pdf  failed:" in listed.out
    assert "2 documents, 1 failed" in listed.err
    assert "desk" not in rag("documents", "docs/kite.md").out
    below: Any = rag("documents", "docs/manuals", "--json").json
    assert [d["uri"].rsplit("/", 1)[1] for d in below["documents"]] == ["desk.md"]
    assert below["documents"][0]["chunks"] == 1
    failed: Any = rag("documents", "--failed", "--json").json
    assert not failed["documents"] and failed["failures"][0]["error"]
    filtered: Any = rag("documents", "--where", "uri=docs/kite.md", "--json").json
    assert len(filtered["documents"]) == 1


def test_delete_lists_what_goes(rag: Rag, docs: Path) -> None:
    rag("ingest", "docs")
    result = rag("delete", "docs")
    assert (result.out, result.code) == ("2 deleted\n", 0)
    assert "docs/kite.md" in result.err and "desk.md" in result.err
    assert ".ragignore" in result.err  # the files are still there


@pytest.mark.parametrize("command", ["delete", "documents", "show", "similar"])
@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_is_not_the_current_folder(
    rag: Rag, docs: Path, command: str, path: str
) -> None:
    rag("ingest", "docs")
    result = rag(command, path)
    assert result.code == 2 and "empty" in result.err
    assert len(rag("documents", "--json").json["documents"]) == 2


def test_documents_at_an_unknown_path_are_an_error(rag: Rag, docs: Path) -> None:
    rag("ingest", "docs")
    result = rag("documents", "nowhere")
    assert result.code != 0 and "no documents at nowhere" in result.err
    assert rag("documents", "docs").code == 0


def talk(*arguments: str, folder: Path, says: str, **env: str) -> str:
    """Run ``rag`` in a terminal, type, and return what it printed."""
    controller, worker = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", **env}
    process = subprocess.Popen(
        [RAG, *arguments], cwd=folder, stdin=worker, stdout=worker, stderr=worker, env=environment
    )
    os.close(worker)
    os.write(controller, says.encode())
    printed = bytearray()
    while True:
        try:
            piece = os.read(controller, 65_536)
        except OSError:
            break
        if not piece:
            break
        printed += piece
    os.close(controller)
    process.wait()
    return printed.decode(errors="replace")


def test_delete_asks_on_a_terminal(rag: Rag, docs: Path, tmp_path: Path) -> None:
    rag("ingest", "docs")
    printed = talk("delete", "docs", folder=tmp_path, says="n\n")
    assert "Delete 2 documents" in printed
    assert len(rag("documents", "--json").json["documents"]) == 2
    assert "1 deleted" in talk("delete", "docs/kite.md", folder=tmp_path, says="y\n")
    assert "1 deleted" in talk("delete", "--yes", "docs", folder=tmp_path, says="")


@pytest.mark.parametrize(("stored", "typed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_both_spellings_of_a_name_are_one(
    rag: Rag, tmp_path: Path, stored: str, typed: str
) -> None:
    name = "Überblick é.md"
    (tmp_path / "docs").mkdir()
    path = tmp_path / "docs" / unicodedata.normalize(stored, name)
    path.write_text("The overview has 34 pages.\n")
    typed_path = f"docs/{unicodedata.normalize(typed, name)}"
    assert rag("ingest", typed_path).code == 0
    assert rag("show", typed_path).out.startswith("The overview")
    assert len(rag("documents", typed_path, "--json").json["documents"]) == 1
    path.unlink()  # the index alone knows the name
    assert rag("delete", typed_path).out == "1 deleted\n"


# -- chat ----------------------------------------------------------------------------------


def test_chat_filters_changes_the_model_and_exports(rag: Rag, docs: Path, tmp_path: Path) -> None:
    rag("ingest", "docs")
    lines = [
        "/where uri=docs/manuals/desk.md",
        "When does the desk open?",
        "/where nonsense",
        "/where",
        "How long does the \\",
        "battery last?",
        "/model nonsense:x",
        "/model none",
        "When does the desk open?",
        "/export chat.md",
        "/sources",
    ]
    result = rag("chat", stdin="\n".join(lines) + "\n")
    assert result.code == 0
    assert result.out.count("8:30") >= 2 and "34 minutes" in result.out
    assert "nonsense" in result.err
    assert "34 minutes" in (tmp_path / "chat.md").read_text()
    only = rag("chat", "--where", "uri=docs/kite.md", "-k", "1", stdin="When does the desk open?\n")
    assert "8:30" not in only.out


def test_chat_keeps_its_lines_between_runs(rag: Rag, docs: Path, tmp_path: Path) -> None:
    rag("ingest", "docs")
    state = tmp_path / "state"
    talk("chat", folder=tmp_path, says="How long?\n/quit\n", XDG_STATE_HOME=str(state))
    history = state / "citewell" / "chat_history"
    assert "How long?" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_tab_completes_commands_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes [1]").mkdir()
    (tmp_path / "notes.txt").touch()

    def complete_all(text: str) -> list[str]:
        matches = []
        while (match := complete(text, len(matches))) is not None:
            matches.append(match)
        return matches

    assert complete_all("/wh") == ["/why", "/where"]
    assert complete_all("no") == ["notes [1]/", "notes.txt"]
    assert complete_all("notes [") == ["notes [1]/"]
    assert complete_all(f"{tmp_path}/notes.") == [f"{tmp_path}/notes.txt"]
    assert complete_all("zzz") == []


# -- completion, progress, doctor ----------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_the_installed_program_works(rag: Rag, shell: str) -> None:
    script = rag("completion", shell).out
    assert "_RAG_COMPLETE" in script and "rag" in script
    env = {"_RAG_COMPLETE": f"{shell}_complete", "COMP_WORDS": "rag doc", "COMP_CWORD": "1"}
    if shell == "fish":
        env["COMP_CWORD"] = "doc"
    completed = rag(**env).out
    assert "doctor" in completed and "documents" in completed and "ingest" not in completed


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="needs bash")
def test_bash_completes_an_option(rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "rag.bash").write_text(rag("completion", "bash").out)
    code = "source rag.bash; COMP_WORDS=(rag ask --wh); COMP_CWORD=2; _rag_completion; echo ${COMPREPLY[@]}"
    path = f"{Path(RAG).parent}:{os.environ['PATH']}"
    process = subprocess.run(
        ["/bin/bash", "-c", code.replace("_rag_completion;", "_rag_completion rag;")],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert process.stdout.strip() == "--where", process.stderr


def test_doctor_opens_the_index_with_the_pipeline_of_the_folder(
    rag: Rag, docs: Path, tmp_path: Path
) -> None:
    small = "embedder: {type: static, dimensions: 64}\n"
    (tmp_path / "rag.yaml").write_text(f"index: here\nsources: [docs]\n{small}")
    rag("ingest")
    assert "index here: opens, 2 documents" in rag("doctor").out
    (tmp_path / "rag.yaml").write_text("index: here\nsources: [docs]\n")
    result = rag("doctor")
    assert result.code == 1 and "EmbedderMismatch" in result.out
    assert "repair" not in result.out and "or rag ingest with this one" in result.out


def test_a_filter_that_matches_nothing_is_said(rag: Rag, docs: Path) -> None:
    rag("ingest", "docs")
    for command in ("ask", "search"):
        for condition in ("year>=abc", "uri=docs/none.md"):
            result = rag(command, "How long does the battery last?", "--where", condition)
            assert "no document matches the filter" in result.err, (command, condition)
        assert "matches" not in rag(command, "battery", "--where", "uri=docs/kite.md").err


def test_chat_says_what_a_filter_selects(rag: Rag, docs: Path) -> None:
    rag("ingest", "docs")
    lines = "/where uri=docs/kite.md\n/where year=5\n/where\n/where (\n/where 'x\n/model none\n"
    result = rag("chat", stdin=lines)
    said = [line for line in result.out.splitlines() if line]
    assert said == [
        "searching 1 document",
        "searching 0 documents",
        "searching all documents",
        "answers are quotes",
    ]


@pytest.mark.parametrize(
    "words",
    [
        "ingest",
        "chat",
        "parse",
        "show",
        "delete",
        "documents",
        "monitor q.jsonl",
        "init --documents",
    ],
)
def test_the_shell_completes_files(rag: Rag, words: str) -> None:
    env = {"_RAG_COMPLETE": "bash_complete", "COMP_WORDS": f"rag {words} tra"}
    completed = rag(**env, COMP_CWORD=str(len(words.split()) + 1)).out
    assert completed.strip() in {"file,tra", "file,"}


def test_progress_counts_from_the_first_documents(tmp_path: Path, pipeline: Pipeline) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(60):
        (folder / f"{i}.txt").write_text(f"Note {i}.\n")
    reports: list[IngestReport] = []
    counts: list[int] = []

    def progress(report: IngestReport) -> None:
        reports.append(report)
        counts.append(report.seen)

    assert pipeline.ingest(folder, progress=progress) is reports[0]
    assert counts[0] == 0 and reports[0].read == 60  # the same report, before the first batch
    assert format_progress(IngestReport(read=12, total=60), 2.0) == (
        "12 of 60 documents, 0 chunks, 6.0 documents/s, 8 s left"
    )


def test_the_terminal_shows_progress_at_once(docs: Path, tmp_path: Path) -> None:
    printed = talk("ingest", "docs", folder=tmp_path, says="", TERM="xterm")
    assert "of 3 documents" in printed or "opening the index" in printed


def test_doctor_ends_with_what_to_do_next(rag: Rag, docs: Path) -> None:
    first = rag("doctor").out
    assert "rag init (writes a configuration)" in first.partition("\nnext\n")[2]
    rag("init", "--documents", "docs")
    assert "rag ingest (indexes the sources of rag.yaml)" in rag("doctor").out
    rag("ingest")
    assert "rag ask 'your question'" in rag("doctor").out
    report: Any = rag("doctor", "--json").json
    declared = {"serve", "mcp", "onnx", "litellm", "map", "formats", "legacy", "otel", "metrics"}
    assert declared <= set(report["extras"])
    assert report["next"]


def test_commands_of_the_first_version_work_with_a_warning(rag: Rag, docs: Path) -> None:
    rag("ingest", docs)
    for old, new in (("source", "show"), ("sources", "formats")):
        arguments = [docs / "kite.md"] if old == "source" else []
        old_result, new_result = rag(old, *arguments), rag(new, *arguments)
        assert old_result.code == 0 and old_result.out == new_result.out
        assert f"use `rag {new}`" in old_result.err
        assert f"  {old} " not in rag("--help").out and f"  {new} " in rag("--help").out

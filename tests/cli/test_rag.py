"""Commands of ``rag`` as processes: output, errors and exit codes."""

import json
import shutil
from pathlib import Path

import pytest

from rag.types import Answer, Hit
from tests.cli.conftest import Rag, error_line
from tests.conftest import API_KEY, ROOT


def test_ingest_json_counts_documents(rag: Rag, folder: Path) -> None:
    first = rag("ingest", "docs", "--json")
    assert first.code == 0
    assert first.json["documents"] == {
        "added": 2,
        "updated": 0,
        "unchanged": 0,
        "deleted": 0,
        "failed": [],
        "skipped": [],
        "moved": [],
        "kept": 0,
        "reembedded": 0,
    }
    assert first.json["chunks"] >= 2
    assert first.json["seconds"] > 0
    assert (folder.parent / ".rag" / "library.sqlite").exists()
    assert rag("ingest", "docs", "--json").json["documents"]["unchanged"] == 2


def test_ingest_prints_a_summary(rag: Rag, folder: Path) -> None:
    result = rag("ingest", "docs")
    assert "2 added" in result.out
    assert "index .rag" in result.out


def test_ingest_reports_documents_that_fail(rag: Rag, folder: Path) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    (folder / "data.bin").write_bytes(bytes(range(256)) * 10)
    shutil.copy(ROOT / "tests" / "fixtures" / "encrypted.pdf", folder)
    result = rag("ingest", "docs", "--json")
    assert result.code == 3
    failed = {f["uri"].rpartition("/")[2]: f["error"] for f in result.json["documents"]["failed"]}
    assert failed.keys() == {"bad.pdf", "data.bin", "encrypted.pdf"}
    assert "password" in failed["encrypted.pdf"]
    assert "damaged" in failed["bad.pdf"]
    assert "binary" in failed["data.bin"]
    assert "failed: docs/bad.pdf:" in result.err
    assert rag("search", "battery").code == 0


def test_search_json_lists_hits(ingested_rag: Rag) -> None:
    result = ingested_rag("search", "battery", "-k", "1", "--json")
    (hit,) = [Hit.model_validate(hit) for hit in result.json["hits"]]
    assert "battery" in hit.chunk.text
    assert result.json.keys() == {"hits"}


def test_search_filters_by_metadata(rag: Rag, folder: Path) -> None:
    for year in (2024, 2025):
        (folder / f"{year}.md").write_text(f"---\nyear: {year}\n---\nThe report on birds.\n")
    rag("ingest", "docs")
    hits = rag("search", "birds", "--where", "year=2025", "--json").json["hits"]
    assert [hit["chunk"]["metadata"]["year"] for hit in hits] == [2025]
    assert rag("search", "birds", "--where", "year").code == 2


def test_search_explains_the_scores(rag: Rag, folder: Path) -> None:
    for name in ("Oslo_2024", "Aarhus_2024"):
        (folder / f"{name}.md").write_text("The compressors used 335 kWh in July.\n")
    rag("ingest", "docs")
    out = rag("search", "kWh in Oslo", "-k", "1", "--explain").out
    assert "favoured 1.000  docs/Oslo_2024.md  (Oslo)" in out
    assert [line.split()[0] for line in out.splitlines() if line.endswith(("#1", "#2"))] == [
        *("dense", "lexical", "document"),
    ]
    result = rag("search", "kWh in Oslo", "-k", "1", "--explain", "--json").json
    assert [document["names"] for document in result["favoured"]] == [["Oslo"]]
    assert "favoured" not in rag("search", "kWh in Oslo").out


def test_filters_take_printed_paths_and_name_unknown_fields(rag: Rag, folder: Path) -> None:
    (folder / "2025.md").write_text("---\nyear: 2025\n---\nThe report on birds.\n")
    rag("ingest", "docs")
    assert "docs/2025.md" in rag("search", "birds").out
    hits = rag("search", "birds", "--where", "uri=docs/2025.md", "--json").json["hits"]
    assert [hit["chunk"]["uri"].rpartition("/")[2] for hit in hits] == ["2025.md"]
    result = rag("search", "birds", "--where", "yaer=2025")
    assert result.code == 0
    assert result.err.splitlines() == [
        "warning: no document has the field 'yaer' of the filter; the nearest field is 'year'",
        "no document matches the filter",
    ]


def test_ask_json_prints_a_verified_answer(ingested_rag: Rag) -> None:
    result = ingested_rag("ask", "How long does charging take?", "--json")
    answer = Answer.model_validate(result.json)
    assert answer.status == "answered"
    assert "90 minutes" in answer.text
    for citation in answer.citations:
        span = ("--start", str(citation.start), "--end", str(citation.end))
        assert ingested_rag("show", citation.uri, *span).out == citation.quote
        assert citation.verified


def test_ask_prints_the_answer_with_citations(ingested_rag: Rag) -> None:
    result = ingested_rag("ask", "How long does charging take?")
    assert "Charging takes 90 minutes. [1]" in result.out
    assert "[1] docs/handbook.md  (characters" in result.out


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_ask_stream_prints_the_answer_once(ingested_rag: Rag, flags: tuple[str, ...]) -> None:
    result = ingested_rag("ask", "How long does charging take?", "--stream", *flags)
    assert result.code == 0
    if flags:
        assert "90 minutes" in result.err
        assert "90 minutes" in Answer.model_validate(result.json).text
    else:
        assert result.out.count("Charging takes 90 minutes. [1]") == 1


@pytest.mark.parametrize("flags", [(), ("--stream",)])
def test_abstention_prints_the_closest_passages(ingested_rag: Rag, flags: tuple[str, ...]) -> None:
    result = ingested_rag("ask", "Who is the president of France?", *flags)
    assert result.code == 0
    assert result.out.count("could not find an answer") == 1
    assert "The closest passages:" in result.out


def test_chat_answers_questions_from_stdin(rag: Rag, folder: Path) -> None:
    result = rag(
        "chat", "docs", stdin="How long does charging take?\n\n/sources\n/nonsense\n/quit\nx\n"
    )
    assert result.code == 0
    assert "Charging takes 90 minutes. [1]" in result.out
    assert "handbook.md" in result.out
    assert "unknown command: /nonsense" in result.err


def test_chat_continues_and_explains_a_conversation(rag: Rag, folder: Path) -> None:
    first = rag("chat", "docs", "--name", "kite", stdin="How long does the battery last?\n")
    assert first.code == 0 and "34 minutes" in first.out
    commands = "And how long does charging it take?\n/why\n/history\n/save talk.md\n/save talk.md\n"
    second = rag("chat", "--continue", stdin=commands + "/save talk.json\n/help\n")
    assert "understood as: And how long does charging it take? (battery)" in second.out
    assert "supported (1.00)" in second.out and "extractive" in second.out
    assert "1. How long does the battery last?" in second.out
    assert "already exists" in second.err
    assert "/export FILE" in second.out
    saved = folder.parent / "talk.md"
    assert saved.read_text().count("characters ") >= 2
    turns = json.loads((folder.parent / "talk.json").read_text())["turns"]
    assert [turn["number"] for turn in turns] == [1, 2]
    conversations = rag("conversations", "list", "--json").json["conversations"]
    assert [(info["name"], info["turns"]) for info in conversations] == [("kite", 2)]
    transcript = rag("conversations", "show", "kite").out
    assert "90 minutes" in transcript and "handbook.md" in transcript
    reset = rag("chat", "--name", "kite", stdin="/reset\n/why\n/sources\n/history\n/save\n")
    assert reset.out.count("No question was asked yet.") == 3 and "Name a file" in reset.err
    deletion = rag("conversations", "delete", "kite")
    assert deletion.code == 2 and "there is no conversation 'kite'" in error_line(deletion)


def test_models_lists_chat_models(rag: Rag) -> None:
    models = {entry["name"]: entry for entry in rag("models", "--json").json["models"]}
    assert {"openai", "azure-openai", "cohere", "llama-cpp", "scripted"} <= models.keys()
    assert models["cohere"]["extra"] == "cohere"
    assert "gpt-4.1-mini" in rag("models").out


def test_chat_without_an_index_fails(rag: Rag) -> None:
    result = rag("chat")
    assert result.code == 1
    assert "no index at .rag: build one with `rag ingest SOURCE" in error_line(result)


def test_source_prints_the_exact_text(rag: Rag, folder: Path) -> None:
    text = "# Ünï\r\n\r\ntwo  spaces, no end of line"
    (folder / "exact.md").write_bytes(text.encode())
    rag("ingest", "docs")
    uri = (folder / "exact.md").as_uri()
    for name in (uri, "docs/exact.md"):
        document = rag("show", name, "--json").json
        assert document["text"] == text
        assert document["uri"] == uri
        assert document["title"] == "Ünï"
        assert document["marks"][0]["value"] == ["Ünï"]
    part = rag("show", uri, "--start", "2", "--end", "5", "--json").json
    assert part["text"] == text[2:5]
    assert rag("show", uri, "--start", "5", "--end", "2").code == 2
    assert "no document" in error_line(rag("show", "docs/nothing.md"))


def test_delete_removes_documents_of_a_missing_source(ingested_rag: Rag, folder: Path) -> None:
    shutil.rmtree(folder)
    assert ingested_rag("ingest", "docs").code == 2
    assert ingested_rag("delete", "docs/notes.txt").out == "1 deleted\n"
    assert ingested_rag("delete", folder.as_uri()).out == "1 deleted\n"
    result = ingested_rag("delete", "docs")
    assert result.code == 1
    assert "has no documents at docs" in error_line(result)
    assert ingested_rag("stats", "--json").json["documents"] == 0


def test_source_accepts_relative_paths(rag: Rag, folder: Path) -> None:
    (folder / "meeting: notes.md").write_text("The meeting was short.")
    rag("ingest", "docs")
    for path in ("docs/../docs/notes.txt", "./docs/notes.txt"):
        assert rag("show", path).code == 0
    assert rag("show", "docs/meeting: notes.md").out == "The meeting was short."


def test_stats_counts_documents(ingested_rag: Rag, folder: Path) -> None:
    stats = ingested_rag("stats", "--json").json
    assert (stats["documents"], stats["embedder"], stats["failures"]) == (2, "static", [])
    assert "2 documents" in ingested_rag("stats").out


def test_doctor_hides_key_values(ingested_rag: Rag) -> None:
    for flags in ((), ("--json",)):
        result = ingested_rag("doctor", *flags, OPENAI_API_KEY="sk-very-secret")
        assert result.code == 0
        assert "very-secret" not in result.out + result.err
    assert result.json["keys"] == {
        "OPENAI_API_KEY": True,
        "AZURE_OPENAI_API_KEY": False,
        "ANTHROPIC_API_KEY": False,
        "GEMINI_API_KEY": False,
        "COHERE_API_KEY": False,
        "CHROMA_API_KEY": False,
        "IMAP_PASSWORD": False,
    }
    assert result.json["index"]["state"].startswith("opens, 2 documents")


def test_doctor_reports_a_damaged_index(ingested_rag: Rag, tmp_path: Path) -> None:
    (tmp_path / ".rag" / "library.sqlite").write_bytes(b"broken" * 1000)
    result = ingested_rag("doctor")
    assert result.code == 1
    assert "IndexDamaged" in result.out


def test_prompts_lists_and_prints_templates(rag: Rag, tmp_path: Path) -> None:
    prompts = rag("prompts", "list", "--json").json["prompts"]
    assert "grounded" in [prompt["name"] for prompt in prompts]
    assert (
        rag("prompts", "show", "grounded").out
        == (ROOT / "prompts" / "templates" / "grounded.md").read_text()
    )
    missing = rag("prompts", "show", "nothing")
    assert missing.code == 2
    assert "no prompt is called 'nothing'" in error_line(missing)


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
        (("ingest", "docs", "--index", "."), 1, "is not an index and contains other files"),
        (("ingest", ".rag"), 2, "is the folder of an index, not a source"),
    ],
)
def test_invalid_input_is_one_error_line(
    ingested_rag: Rag, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = ingested_rag(*arguments)
    assert (result.code, result.out) == (code, "")
    assert message in error_line(result)


@pytest.mark.parametrize(
    "arguments", [("ingest",), ("search", "x", "-k", "0"), ("nonsense",), ("ask",)]
)
def test_usage_errors_print_the_usage(rag: Rag, arguments: tuple[str, ...]) -> None:
    result = rag(*arguments)
    assert result.code == 2
    assert result.err.startswith("Usage: rag")


def test_commands_without_an_index_fail(rag: Rag) -> None:
    for command in (("ask", "x"), ("search", "x"), ("show", "x"), ("stats",)):
        result = rag(*command, "--index", "elsewhere")
        assert result.code == 1
        assert "no index at elsewhere" in error_line(result)


def test_ask_abstains_for_a_question_in_another_script(ingested_rag: Rag) -> None:
    result = ingested_rag("ask", "电池能用多久？", "--json")
    assert result.code == 0
    assert result.json["status"] == "abstained"


GROUNDED = (
    "generator:\n  type: grounded\n  model:\n    type: openai\n    model: m\n"
    "    base_url: {url}\n    retries: 0\n    max_output_tokens: 20\n"
)


def test_unreachable_endpoint_is_reported(ingested_rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "llm.yaml").write_text(GROUNDED.format(url="http://127.0.0.1:9/v1"))
    result = ingested_rag("ask", "battery", "-p", "llm.yaml")
    assert result.code == 1
    assert "cannot reach http://127.0.0.1:9/v1: is the server running?" in error_line(result)


@pytest.mark.slow
def test_wrong_api_key_is_reported(ingested_rag: Rag, tmp_path: Path, llama_url: str) -> None:
    (tmp_path / "llm.yaml").write_text(GROUNDED.format(url=llama_url))
    withheld = ingested_rag("ask", "battery", "-p", "llm.yaml", OPENAI_API_KEY=API_KEY)
    assert "was not sent" in error_line(withheld) and "rag trust" in error_line(withheld)
    ingested_rag("trust", llama_url)
    wrong = ingested_rag("ask", "battery", "-p", "llm.yaml", OPENAI_API_KEY="sk-wrong-secret")
    assert wrong.code == 1
    assert "refused the API key" in error_line(wrong)
    assert "wrong-secret" not in wrong.err
    right = ingested_rag("ask", "battery", "-p", "llm.yaml", "--json", OPENAI_API_KEY=API_KEY)
    assert right.code == 0
    Answer.model_validate(right.json)


def test_search_accepts_unusual_input(ingested_rag: Rag) -> None:
    for arguments in (
        ("search", "\udcff battery"),
        ("search", "battery", "--where", "title=\udcff"),
        ("search", "battery", "--where", "year=99999999999999999999999"),
        ("search", "???"),
    ):
        result = ingested_rag(*arguments)
        assert result.code == 0, (arguments, result.err)
    assert "No results." in result.out

"""Drafts of real models, and what the checks make of them.

    python -m benchmarks.models record MODEL.gguf FOLDER DRAFTS.jsonl
    python -m benchmarks.models check FOLDER DRAFTS.jsonl [...]

``record`` asks a model on a llama.cpp server all questions about a folder, and keeps its drafts;
it needs the package xllamacpp, and some seconds for each question. ``check`` gives the drafts to
today's checks, without a model. FOLDER is ``office`` (``benchmarks/data/office-folder.tar.xz``), or
has ``docs/`` and ``questions.jsonl`` (``question``, ``answers``; none for an unanswerable one).

A draft is right if it contains an answer. ``refused`` are right drafts that are not shown as they
are, ``passed`` wrong drafts without a flag, ``invented`` answers to unanswerable questions. ``in
the end`` are the questions answered correctly, ``with quotes`` in place of rejected drafts.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import local_model
from benchmarks.office_folder import ARCHIVE, normalize
from rag import Answer, GroundedGenerator, OpenAIChat, Pipeline, ScriptedChat
from rag.generation.claims import starts_with_refusal
from rag.types import NO_ANSWER

PASSAGES = 5


@dataclass
class Counts:
    """What became of the drafts."""

    right_drafts: int = 0
    refused: int = 0
    wrong_drafts: int = 0
    passed: int = 0
    unanswerable: int = 0
    invented: int = 0
    right: int = 0


def main(arguments: list[str]) -> None:
    match arguments:
        case ["record", model, folder, drafts]:
            record(Path(model), folder, Path(drafts))
        case ["check", folder, *files] if files:
            check(folder, [Path(file) for file in files])
        case _:
            raise SystemExit(__doc__)


def record(model: Path, folder: str, drafts: Path) -> None:
    """Ask a model the questions that `drafts` has no draft for, and add its drafts."""
    known = {line["question"] for line in _read_lines(drafts)} if drafts.exists() else set()
    with (
        _open_folder(folder) as (docs, questions),
        local_model.serving(model=model) as (url, key),
        drafts.open("a", encoding="utf-8") as output,
    ):
        chat = OpenAIChat(model="m", base_url=url, api_key=key, seed=1, timeout=900)
        with _open_pipeline(docs, GroundedGenerator(model=chat, fallback=None)) as pipeline:
            for question in questions:
                if _join_turns(question) in known:
                    continue
                answer = _ask(pipeline, question)
                steps = [step.draft for step in answer.trace if getattr(step, "draft", None)]
                line = {"question": _join_turns(question), "draft": (steps or [answer.text])[-1]}
                output.write(json.dumps(line, ensure_ascii=False) + "\n")
                output.flush()


def check(folder: str, files: Sequence[Path]) -> None:
    """Print what the checks make of each file of drafts."""
    print(f"{'drafts':<24}{'right':>6}{'refused':>9}{'wrong':>7}{'passed':>8}"
          f"{'none':>6}{'invented':>10}{'in the end':>12}{'with quotes':>13}")  # fmt: skip
    with _open_folder(folder) as (docs, questions):
        for file in files:
            drafts = {line["question"]: line["draft"] for line in _read_lines(file)}
            asked_questions = [q for q in questions if _find_draft(q, drafts)]
            counts, quoted = Counts(), Counts()
            with _open_pipeline(docs, None) as pipeline:
                for question in asked_questions:
                    draft = _find_draft(question, drafts)
                    chat = ScriptedChat(replies=(draft,) * 20)
                    plain = pipeline.replace(generator=GroundedGenerator(model=chat, fallback=None))
                    _count(counts, question, draft, _ask(plain, question))
                    full = pipeline.replace(generator=GroundedGenerator(model=chat))
                    _count(quoted, question, draft, _ask(full, question))
            print(f"{file.stem:<24}{counts.right_drafts:>6}{counts.refused:>9}"
                  f"{counts.wrong_drafts:>7}{counts.passed:>8}{counts.unanswerable:>6}"
                  f"{counts.invented:>10}{counts.right:>12}{quoted.right:>13}")  # fmt: skip


def _count(counts: Counts, question: dict[str, Any], draft: str, answer: Answer) -> None:
    expected = question.get("answers") or question.get("answer") or []

    def is_right(text: str) -> bool:
        return any(normalize(answer) in normalize(text) for answer in expected)

    is_answered = answer.status == "answered"
    flagged = [answer.text[s.start : s.end] for s in answer.sentences if s.is_rejected]
    if not expected:
        counts.unanswerable += 1
        is_invented = is_answered and not flagged and not starts_with_refusal(answer.text)
        counts.invented += is_invented
        counts.right += not is_invented
        return
    right_in_the_end = is_answered and is_right(answer.text)
    counts.right += right_in_the_end
    if is_right(draft):
        counts.right_drafts += 1
        counts.refused += not right_in_the_end or any(map(is_right, flagged))
    elif not starts_with_refusal(draft) and NO_ANSWER not in draft:
        counts.wrong_drafts += 1
        counts.passed += is_answered and not right_in_the_end and not flagged


def _ask(pipeline: Pipeline, question: dict[str, Any]) -> Answer:
    turns = question["question"]
    if isinstance(turns, str):
        return pipeline.ask(turns)
    chat = pipeline.chat("".join(turns)[:40].replace("/", " "))
    chat.reset()
    for turn in turns:
        answer = chat.ask(turn)
    return answer


def _find_draft(question: dict[str, Any], drafts: dict[str, str]) -> str:
    """Return the draft for a question, or for the last turn of a conversation; "" for none."""
    turns = question["question"]
    last = turns if isinstance(turns, str) else turns[-1]
    return drafts.get(_join_turns(question)) or drafts.get(last, "")


def _join_turns(question: dict[str, Any]) -> str:
    turns = question["question"]
    return turns if isinstance(turns, str) else " / ".join(turns)


@contextmanager
def _open_folder(name: str) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Yield the documents and the questions of a folder."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(name)
        if name == "office":
            with tarfile.open(ARCHIVE) as archive:
                archive.extractall(work, filter="data")
            folder = Path(work)
        docs = folder / ("folder" if name == "office" else "docs")
        yield docs, _read_lines(folder / "questions.jsonl")


@contextmanager
def _open_pipeline(docs: Path, generator: GroundedGenerator | None) -> Iterator[Pipeline]:
    with tempfile.TemporaryDirectory() as work:
        options: dict[str, Any] = {"generator": generator} if generator else {}
        with Pipeline(index=Path(work) / "index", k=PASSAGES, **options) as pipeline:
            pipeline.ingest(docs)
            yield pipeline


def _read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


if __name__ == "__main__":
    main(sys.argv[1:])

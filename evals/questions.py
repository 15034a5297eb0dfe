"""Question sets: questions, reference answers, and gold documents."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import Field, ValidationError

from rag.component import summarize_validation_error
from rag.errors import QueryError
from rag.types import FrozenModel, Text


class GoldSpan(FrozenModel):
    """The location of an answer in a source: ``text[start:end] == quote``."""

    uri: Text
    start: int
    end: int
    quote: Text


class Question(FrozenModel):
    """A question, with its reference answers and gold documents.

    ``answers`` are correct answers, each complete by itself. ``answerable`` is whether the sources
    answer the question (None: unknown). ``gold`` are the documents that answer it, by uri or by the
    id of a record. ``answer`` and ``contexts`` are set if an existing answer is to be scored.
    """

    id: Text
    question: Text = Field(min_length=1)
    answers: tuple[Text, ...] = ()
    answerable: bool | None = None
    gold: tuple[Text, ...] = ()
    spans: tuple[GoldSpan, ...] = ()
    kind: Text = ""
    answer: Text | None = None
    contexts: tuple[Text, ...] | None = None


_LONGEST_CELL = 1_000_000  # characters of a cell that are parsed as a list
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "_id", "qid", "question_id", "query_id", "query-id"),
    "question": ("question", "query", "user_input", "input", "text", "prompt"),
    "answers": (
        "answers",
        "reference",
        "references",
        "ground_truth",
        "ground_truths",
        "expected_answer",
        "expected_output",
        "golden_answers",
        "target",
    ),
    "answerable": ("answerable", "is_answerable"),
    "gold": ("gold", "gold_documents", "relevant_documents", "reference_context_ids"),
    "answer": ("response", "actual_output", "prediction", "output", "generated_answer"),
    "contexts": ("contexts", "retrieved_contexts", "retrieval_context"),
    "spans": ("spans",),
    "kind": ("kind", "type"),
}


def load_questions(path: Path) -> list[Question]:
    """Read a question set; the format is detected from the file.

    Supports JSON lines or a JSON list (``question`` or ``query`` or ``user_input`` ..., also as
    exported by Ragas, DeepEval and LangSmith), CSV and TSV with a header, SQuAD 1 and 2, HotpotQA,
    MuSiQue, and a BEIR folder or its ``queries.jsonl`` next to the ``qrels``. Raises `QueryError`
    with the location of an invalid question, for a repeated id, and for an empty set.
    """
    if path.is_dir():
        questions = list(_read_beir(path))
    else:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise QueryError(f"cannot read the questions {path}: {reason}") from None
        questions = _read_text(path, text)
        if path.name == "queries.jsonl":
            questions = _add_qrels(path.parent, questions)
    if not questions:
        raise QueryError(f"{path}: there is no question in it")
    seen: dict[str, str] = {}
    for question in questions:
        if question.id in seen:
            raise QueryError(f"{path}: the id {question.id!r} is there twice")
        seen[question.id] = question.question
    return questions


def questions_hash(questions: Iterable[Question]) -> str:
    """Return a hash of 16 hex digits that changes with any question."""
    canonical_json = json.dumps(
        [question.model_dump(mode="json") for question in questions], sort_keys=True
    )
    return hashlib.sha256(canonical_json.encode()).hexdigest()[:16]


def is_gold(uri: str, gold: str) -> bool:
    """Return whether `uri` is the document that a question set calls `gold`.

    `gold` is the whole uri, the id of a record (after ``!/``), or the end of the path, such as
    ``a/manual.md``.
    """
    if uri == gold:
        return True
    plain = unquote(uri)
    gold_path = unquote(gold).lstrip("./")
    if not gold_path:
        return False
    return any(plain.endswith(mark + gold_path) for mark in ("/", "!/", "#")) or plain == gold_path


def _read_text(path: Path, text: str) -> list[Question]:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return list(_read_table(path, text, "\t" if suffix == ".tsv" else ","))
    stripped = text.lstrip()
    if stripped.startswith("[") or suffix == ".json":
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            if suffix == ".json" and not _is_lines(stripped):
                raise QueryError(f"{path}: not JSON: {error}") from None
        else:
            return list(_read_json(path, data))
    return list(_read_json_lines(path, text))


def _is_lines(text: str) -> bool:
    try:
        return isinstance(json.loads(text.split("\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


def _read_json_lines(path: Path, text: str) -> Iterator[Question]:
    # not splitlines(): a JSON string may contain a Unicode line separator
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise QueryError(f"{path}, line {number}: not JSON: {error}") from None
            yield _parse_question(record, f"{path}, line {number}", str(number))


def _read_json(path: Path, data: Any) -> Iterator[Question]:
    if isinstance(data, Mapping) and isinstance(data.get("data"), list):
        entries = data["data"]
        if any(isinstance(entry, Mapping) and "paragraphs" in entry for entry in entries):
            yield from _read_squad(path, entries)
            return
        data = entries
    if isinstance(data, Mapping) and isinstance(data.get("questions"), list):
        data = data["questions"]
    if isinstance(data, Mapping):
        data = [data]
    if not isinstance(data, list):
        raise QueryError(f"{path}: neither a list of questions nor a set in a known format")
    for number, record in enumerate(data, start=1):
        yield _parse_question(record, f"{path}, entry {number}", str(number))


def _read_squad(path: Path, entries: list[Any]) -> Iterator[Question]:
    for entry in entries:
        for paragraph in entry.get("paragraphs", ()):
            for qa in paragraph.get("qas", ()):
                answers = [a.get("text", "") for a in qa.get("answers", ())]
                yield _parse_question(
                    {
                        "id": qa.get("id"),
                        "question": qa.get("question"),
                        "answers": list(dict.fromkeys(filter(None, answers))),
                        "answerable": not qa.get("is_impossible", False),
                    },
                    f"{path}, question {qa.get('id')}",
                    str(qa.get("id")),
                )


def _read_table(path: Path, text: str, delimiter: str) -> Iterator[Question]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise QueryError(f"{path}: not a table: {error}") from None
    for number, row in enumerate(rows, start=2):
        record: dict[str, Any] = {k: v for k, v in row.items() if k and v not in (None, "")}
        for name in ("answers", "gold", "contexts"):
            for key in _FIELDS[name]:
                if isinstance(value := record.get(key), str):
                    record[key] = _parse_list_cell(value)
        yield _parse_question(record, f"{path}, line {number}", str(number - 1))


def _parse_list_cell(cell: str) -> list[str]:
    """Parse the list in a cell: JSON, a Python literal (pandas), or values separated by ``|``."""
    if cell.lstrip().startswith("["):
        for parse in (json.loads, ast.literal_eval):  # literals only: no code is run
            try:
                items = parse(cell[:_LONGEST_CELL].strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(items, list):
                return [str(item) for item in items]
    return [part.strip() for part in cell.split("|") if part.strip()]


def _read_beir(folder: Path) -> Iterator[Question]:
    from evals.datasets import load_retrieval_set

    retrieval_set = load_retrieval_set(folder)
    for name, text in retrieval_set.queries.items():
        gold = [doc for doc, score in retrieval_set.judgements[name].items() if score > 0]
        yield Question(id=name, question=text, gold=tuple(gold), answerable=True)


def _add_qrels(folder: Path, questions: list[Question]) -> list[Question]:
    """Return BEIR queries with the gold documents of the ``qrels`` in the same folder."""
    from evals.datasets import read_qrels

    qrels = next(
        (p for p in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if p.is_file()), None
    )
    judged = read_qrels(qrels) if qrels else {}
    return [
        question.model_copy(update={"gold": gold, "answerable": True})
        if (gold := tuple(d for d, score in judged.get(question.id, {}).items() if score > 0))
        else question
        for question in questions
    ]


def _parse_question(record: Any, where: str, default_id: str) -> Question:
    if not isinstance(record, Mapping):
        raise QueryError(f"{where}: not a question: a {type(record).__name__}")
    if isinstance(record.get("inputs"), Mapping):  # LangSmith
        outputs = record.get("reference_outputs") or record.get("outputs")
        right = dict(outputs) if isinstance(outputs, Mapping) else {"answer": outputs}
        record = {**record, **right, **record["inputs"]}
    values: dict[str, Any] = {}
    for name, keys in _FIELDS.items():
        for key in keys:
            if record.get(key) is not None:
                values[name] = record[key]
                break
    # "answer" is a reference, unless the record also has references or contexts: then it is the
    # answer of a system
    if (answer := record.get("answer")) is not None:
        is_scored_answer = "answers" in values or "contexts" in values
        values.setdefault("answer" if is_scored_answer else "answers", answer)
    if (aliases := record.get("answer_aliases")) and "answer" not in values:  # MuSiQue
        values["answers"] = [*_parse_texts(values.get("answers", []), where, "answers"), *aliases]
    if isinstance(record.get("is_impossible"), bool):
        values.setdefault("answerable", not record["is_impossible"])
    if isinstance(listed := record.get("answers"), Mapping) and listed.get("text") == []:
        values.setdefault("answerable", False)  # SQuAD 2 on Hugging Face
    if isinstance(values.get("question"), Mapping):
        values["question"] = values["question"].get("text")
    for name in ("answers", "gold", "contexts"):
        if name in values:
            values[name] = tuple(_parse_texts(values[name], where, name))
    if "gold" not in values and (facts := record.get("supporting_facts")):
        values["gold"] = tuple(dict.fromkeys(_supporting_titles(facts)))
    if "answer" in values and not isinstance(values["answer"], str):
        raise QueryError(f"{where}: the answer that is to be scored is not a text")
    if isinstance(values.get("answerable"), str):
        values["answerable"] = _parse_boolean(values["answerable"], where)
    values["id"] = str(values.get("id", default_id))
    question = values.get("question")
    if not isinstance(question, str) or not question.strip():
        raise QueryError(f"{where}: there is no question in it")
    try:
        return Question(**values)
    except ValidationError as error:
        raise QueryError(f"{where}: {summarize_validation_error(error)}") from None


def _supporting_titles(facts: Any) -> list[str]:
    """Return the titles of HotpotQA's supporting facts: lists of title and sentence, or columns."""
    if isinstance(facts, Mapping):
        return [str(title) for title in facts.get("title", ())]
    return [str(fact[0]) for fact in facts if isinstance(fact, list | tuple) and fact]


def _unwrap_text(value: Any) -> Any:
    """Return the text of a LangChain or Haystack document; other values are returned unchanged."""
    if not isinstance(value, Mapping):
        return value
    return value.get("text") or value.get("page_content") or value.get("content")


def _parse_texts(value: Any, where: str, name: str) -> list[str]:
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]  # SQuAD on Hugging Face
    items = value if isinstance(value, list | tuple) else [value]
    texts = []
    for item in map(_unwrap_text, items):
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise QueryError(f"{where}: {name} has a {type(item).__name__} in it, not a text")
        texts.append(str(item))
    return texts if name == "contexts" else list(dict.fromkeys(texts))


def _parse_boolean(text: str, where: str) -> bool:
    truth_values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.strip().lower() not in truth_values:
        raise QueryError(f"{where}: answerable is {text!r}: true or false?")
    return truth_values[text.strip().lower()]

"""Question sets: what is asked, what is right, and which documents say so."""

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
    """Where in a source the answer stands: ``text[start:end] == quote``."""

    uri: Text
    start: int
    end: int
    quote: Text


class Question(FrozenModel):
    """A question, and what is known of it.

    ``answers`` are right ones, each by itself. ``answerable`` is whether the sources answer it
    (None: not known). ``gold`` are the documents that do, by uri or by the id of a record.
    ``answer`` and ``contexts`` are there where a system's answer is to be scored as it is.
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


_LONGEST_CELL = 1_000_000  # characters of a list in a table
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
    """Read a question set; the format is told by the file.

    JSON lines or a JSON list (``question`` or ``query`` or ``user_input`` ..., as Ragas, DeepEval
    and LangSmith export them too), CSV and TSV with a header, SQuAD 1 and 2, HotpotQA, MuSiQue, and
    a BEIR folder or its ``queries.jsonl`` beside the ``qrels``. Raises `QueryError` that names the
    line at fault, also where an id is there twice, or nothing.
    """
    if path.is_dir():
        found = list(_beir(path))
    else:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or error
            raise QueryError(f"cannot read the questions {path}: {said}") from None
        found = _read(path, text)
        if path.name == "queries.jsonl":
            found = _judged(path.parent, found)
    if not found:
        raise QueryError(f"{path}: there is no question in it")
    seen: dict[str, str] = {}
    for question in found:
        if question.id in seen:
            raise QueryError(f"{path}: the id {question.id!r} is there twice")
        seen[question.id] = question.question
    return found


def questions_hash(questions: Iterable[Question]) -> str:
    """16 hex digits that change with any question."""
    said = json.dumps([question.model_dump(mode="json") for question in questions], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def is_gold(uri: str, gold: str) -> bool:
    """Whether a uri is that of the document that a question set calls `gold`.

    By the whole uri, the id of a record (behind ``!/``), or the end of the path: ``a/manual.md``.
    """
    if uri == gold:
        return True
    plain = unquote(uri)
    wanted = unquote(gold).lstrip("./")
    if not wanted:
        return False
    return any(plain.endswith(mark + wanted) for mark in ("/", "!/", "#")) or plain == wanted


def _read(path: Path, text: str) -> list[Question]:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return list(_table(path, text, "\t" if suffix == ".tsv" else ","))
    stripped = text.lstrip()
    if stripped.startswith("[") or suffix == ".json":
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError) as error:
            if suffix == ".json" and not _is_lines(stripped):
                raise QueryError(f"{path}: not JSON: {error}") from None
        else:
            return list(_whole(path, whole))
    return list(_lines(path, text))


def _is_lines(text: str) -> bool:
    try:
        return isinstance(json.loads(text.split("\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


def _lines(path: Path, text: str) -> Iterator[Question]:
    # by the line feed alone: a string may hold a line separator of Unicode's
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise QueryError(f"{path}, line {number}: not JSON: {error}") from None
            yield _question(record, f"{path}, line {number}", str(number))


def _whole(path: Path, whole: Any) -> Iterator[Question]:
    if isinstance(whole, Mapping) and isinstance(whole.get("data"), list):
        inside = whole["data"]
        if any(isinstance(entry, Mapping) and "paragraphs" in entry for entry in inside):
            yield from _squad(path, inside)
            return
        whole = inside
    if isinstance(whole, Mapping) and isinstance(whole.get("questions"), list):
        whole = whole["questions"]
    if isinstance(whole, Mapping):
        whole = [whole]
    if not isinstance(whole, list):
        raise QueryError(f"{path}: neither a list of questions nor a set in a known format")
    for number, record in enumerate(whole, start=1):
        yield _question(record, f"{path}, entry {number}", str(number))


def _squad(path: Path, entries: list[Any]) -> Iterator[Question]:
    for entry in entries:
        for paragraph in entry.get("paragraphs", ()):
            for asked in paragraph.get("qas", ()):
                answers = [a.get("text", "") for a in asked.get("answers", ())]
                yield _question(
                    {
                        "id": asked.get("id"),
                        "question": asked.get("question"),
                        "answers": list(dict.fromkeys(filter(None, answers))),
                        "answerable": not asked.get("is_impossible", False),
                    },
                    f"{path}, question {asked.get('id')}",
                    str(asked.get("id")),
                )


def _table(path: Path, text: str, delimiter: str) -> Iterator[Question]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise QueryError(f"{path}: not a table: {error}") from None
    for number, row in enumerate(rows, start=2):
        record: dict[str, Any] = {k: v for k, v in row.items() if k and v not in (None, "")}
        for name in ("answers", "gold", "contexts"):
            for key in _FIELDS[name]:
                if isinstance(value := record.get(key), str):
                    record[key] = _listed(value)
        yield _question(record, f"{path}, line {number}", str(number - 1))


def _listed(cell: str) -> list[str]:
    """What a cell lists: JSON, Python's way of writing a list (pandas), or values between ``|``."""
    if cell.lstrip().startswith("["):
        for parse in (json.loads, ast.literal_eval):  # literals only: nothing is evaluated
            try:
                found = parse(cell[:_LONGEST_CELL].strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list):
                return [str(each) for each in found]
    return [part.strip() for part in cell.split("|") if part.strip()]


def _beir(folder: Path) -> Iterator[Question]:
    from evals.datasets import load_retrieval_set

    found = load_retrieval_set(folder)
    for name, text in found.queries.items():
        gold = [doc for doc, score in found.judgements[name].items() if score > 0]
        yield Question(id=name, question=text, gold=tuple(gold), answerable=True)


def _judged(folder: Path, questions: list[Question]) -> list[Question]:
    """BEIR's queries, with the documents that its ``qrels`` beside them name."""
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


def _question(record: Any, where: str, default_id: str) -> Question:
    if not isinstance(record, Mapping):
        raise QueryError(f"{where}: not a question: a {type(record).__name__}")
    if isinstance(record.get("inputs"), Mapping):  # LangSmith's
        outputs = record.get("reference_outputs") or record.get("outputs")
        right = dict(outputs) if isinstance(outputs, Mapping) else {"answer": outputs}
        record = {**record, **right, **record["inputs"]}
    values: dict[str, Any] = {}
    for name, keys in _FIELDS.items():
        for key in keys:
            if record.get(key) is not None:
                values[name] = record[key]
                break
    # "answer" is what is right in a question set, unless that is told beside it, or the passages
    # are that a system was given
    if (said := record.get("answer")) is not None:
        given = "answers" in values or "contexts" in values
        values.setdefault("answer" if given else "answers", said)
    if (aliases := record.get("answer_aliases")) and "answer" not in values:  # MuSiQue's
        values["answers"] = [*_texts(values.get("answers", []), where, "answers"), *aliases]
    if isinstance(record.get("is_impossible"), bool):
        values.setdefault("answerable", not record["is_impossible"])
    if isinstance(listed := record.get("answers"), Mapping) and listed.get("text") == []:
        values.setdefault("answerable", False)  # SQuAD 2, as Hugging Face has it
    if isinstance(values.get("question"), Mapping):
        values["question"] = values["question"].get("text")
    for name in ("answers", "gold", "contexts"):
        if name in values:
            values[name] = tuple(_texts(values[name], where, name))
    if "gold" not in values and (facts := record.get("supporting_facts")):
        values["gold"] = tuple(dict.fromkeys(_titles(facts)))
    if "answer" in values and not isinstance(values["answer"], str):
        raise QueryError(f"{where}: the answer that is to be scored is not a text")
    if isinstance(values.get("answerable"), str):
        values["answerable"] = _boolean(values["answerable"], where)
    values["id"] = str(values.get("id", default_id))
    question = values.get("question")
    if not isinstance(question, str) or not question.strip():
        raise QueryError(f"{where}: there is no question in it")
    try:
        return Question(**values)
    except ValidationError as error:
        raise QueryError(f"{where}: {summarize_validation_error(error)}") from None


def _titles(facts: Any) -> list[str]:
    """HotpotQA's supporting facts, as lists of title and sentence or as two columns."""
    if isinstance(facts, Mapping):
        return [str(title) for title in facts.get("title", ())]
    return [str(fact[0]) for fact in facts if isinstance(fact, list | tuple) and fact]


def _text_of(value: Any) -> Any:
    """A document of LangChain's or Haystack's, by its text."""
    if not isinstance(value, Mapping):
        return value
    return value.get("text") or value.get("page_content") or value.get("content")


def _texts(value: Any, where: str, name: str) -> list[str]:
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]  # SQuAD's, as Hugging Face has it
    given = value if isinstance(value, list | tuple) else [value]
    found = []
    for each in map(_text_of, given):
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise QueryError(f"{where}: {name} has a {type(each).__name__} in it, not a text")
        found.append(str(each))
    return found if name == "contexts" else list(dict.fromkeys(found))


def _boolean(text: str, where: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.strip().lower() not in known:
        raise QueryError(f"{where}: answerable is {text!r}: true or false?")
    return known[text.strip().lower()]

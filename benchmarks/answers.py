"""Quality of answers with a small local model and without a model, compared with other frameworks.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers.txt
    python -m benchmarks.answers ../shared/data .venv-peers/bin/python
    python -m benchmarks.answers ../shared/data --extractive    # without a model
    python -m benchmarks.answers ../shared/data --extractive --minilm MINILM

The questions are from SQuAD 2, HotpotQA, MuSiQue and TAT-QA. SQuAD 2 has answerable questions, and
unanswerable ones whose passages seem to answer them. The set ``foreign`` asks questions of other
collections about SQuAD's passages; none can be answered. The environment variable EACH is the
number of questions of each kind (default 40). Every side gets the same four passages, which the
default pipeline retrieves, and the same model, SmolLM2-135M on a llama.cpp server. LlamaIndex uses
its CitationQueryEngine, LangChain the usual chain of prompt, model and parser. Without the second
argument, only citewell is measured.

The columns, by system and set:

* ``EM`` and ``F1``: exact match and token F1 against the references, as SQuAD defines them. The
  best reference counts, and markers are removed. ``holds``: the answer contains a reference.
  An abstention from an answerable question counts as 0.
* ``cited``: the share of sentences with a verified citation. The source contains the quote word for
  word, and the lexical verifier finds that it supports the sentence. For the other frameworks, the
  quote is the node that a marker names.
* ``exact``: the share of all quotes that their source contains word for word.
* ``prec`` is the share of refusals that concern unanswerable questions, ``rec`` the share of
  unanswerable questions that are refused. A refusal of another framework is recognized by its
  words.

With ``--extractive``, only the extractive generator is measured, in other columns: ``first`` and
``any``, the share of answerable questions whose first quote, or any quote, contains a reference;
``refused``, the share of them that it refuses; ``gold out``, the share that it refuses without the
passages that contain a reference; and ``unansw.``, the share of unanswerable questions refused. The
last line is the AUROC of the answerability: questions of SQuAD 2 that have an answer against those
of ``foreign``. MINILM is a folder with all-MiniLM-L6-v2 in ONNX.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.local_model import serving
from connectors.dataset import Dataset
from evals.agreement import auroc
from evals.metrics.correctness import compute_word_f1, normalise_answer
from rag import (
    ExtractiveGenerator,
    GroundedGenerator,
    Hit,
    LexicalVerifier,
    OpenAIChat,
    Pipeline,
)
from rag.embedding import MiniLMEmbedder
from rag.generation.claims import starts_with_refusal
from rag.generation.markers import find_marker_numbers, strip_markers
from rag.text.sentences import sentences
from rag.types import ExtractStep

EACH = int(os.environ.get("EACH", "40"))
K, MOST_TOKENS = 4, 160


@dataclass
class Question:
    """A question, its references, its retrieved hits, and the texts of their documents."""

    text: str
    references: list[str]
    answerable: bool
    hits: list[Hit]
    documents: dict[str, str]


def make_question(
    pipeline: Pipeline, text: str, references: list[str], answerable: bool
) -> Question:
    hits = pipeline.search(text)
    uris = {hit.chunk.uri for hit in hits}
    documents = {uri: pipeline.document(uri).text for uri in uris}
    return Question(text, references, answerable, hits, documents)


@dataclass
class Given:
    """The answer of a side: its text, whether it refused, and counts of sentences and quotes."""

    text: str
    refused: bool
    sentences: int
    cited: int
    quotes: int
    exact: int


Side = Callable[[Sequence[Question]], Iterator[Given]]


def main(data: Path, peers: str | None) -> None:
    with serving() as (url, key), tempfile.TemporaryDirectory() as folder:
        chat = OpenAIChat.model_validate(
            {
                "model": "smollm2",
                "base_url": url,
                "api_key": key,
                "max_output_tokens": MOST_TOKENS,
                "context": 4096,
                "timeout": 300,
            }
        )
        sides: dict[str, Side] = {
            "extractive": ours(ExtractiveGenerator()),
            "grounded": ours(GroundedGenerator(model=chat)),
            "grounded, drop": ours(GroundedGenerator(model=chat, unsupported="drop")),
        }
        if peers:
            sides["LlamaIndex citations"] = peer("llama-index", peers, url, key)
            sides["LangChain chain"] = peer("langchain", peers, url, key)
        sets = {name: list(read(data, Path(folder))) for name, read in SETS.items()}
        print(
            f"{'system':22}{'set':10}{'n':>4}{'EM':>7}{'F1':>7}{'holds':>7}{'cited':>7}{'exact':>8}"
            f"{'prec':>7}{'rec':>7}"
        )
        for side, answer in sides.items():
            for name, questions in sets.items():
                replies = list(answer(questions))
                print(f"{side:22}{name:10}{len(questions):4}{row(questions, replies)}", flush=True)


def measure_extractive(data: Path, minilm: Path | None = None) -> None:
    generator = ExtractiveGenerator()
    if minilm:
        generator = ExtractiveGenerator(sentence_embedder=MiniLMEmbedder(folder=minilm))
    probabilities: dict[str, list[float]] = {}
    print(f"{'set':10}{'n':>5}{'first':>8}{'any':>8}{'refused':>9}{'gold out':>10}{'unansw.':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, read in SETS.items():
            questions = list(read(data, Path(folder)))
            first, any_, refused, gold_out, unanswerable = [], [], [], [], []
            for question in questions:
                answer = generator.answer(question.text, question.hits)
                if question.answerable or name == "foreign":
                    (step,) = (step for step in answer.trace if isinstance(step, ExtractStep))
                    probabilities.setdefault(name, []).append(step.answerability or 0.0)
                is_refused = answer.status == "abstained"
                if not question.answerable:
                    unanswerable.append(is_refused)
                    continue
                quotes = [c.quote for c in answer.citations]
                holds = [scores(quote, question.references)[2] > 0 for quote in quotes]
                first.append(bool(holds) and holds[0])
                any_.append(any(holds))
                refused.append(is_refused)
                others = remove_gold_passages(question)
                if 0 < len(others) < len(question.hits):
                    status = generator.answer(question.text, others).status
                    gold_out.append(status == "abstained")
            shares = [
                cell(ratio(sum(values), len(values)), width)
                for values, width in zip(
                    (first, any_, refused, gold_out, unanswerable), (8, 8, 9, 10, 9), strict=True
                )
            ]
            print(f"{name:10}{len(questions):5}{''.join(shares)}", flush=True)
    asked, foreign_ = probabilities["squad2"], probabilities["foreign"]
    labels = np.array([True] * len(asked) + [False] * len(foreign_))
    print(f"squad2 against foreign: AUROC {auroc(labels, np.array(asked + foreign_)):.3f}")


def remove_gold_passages(question: Question) -> list[Hit]:
    """Return the hits that contain no reference."""
    references = [reference.lower() for reference in question.references]
    return [
        hit for hit in question.hits if not any(r in hit.chunk.text.lower() for r in references)
    ]


def row(questions: Sequence[Question], given: Sequence[Given]) -> str:
    able = [(q, g) for q, g in zip(questions, given, strict=True) if q.answerable]
    score: list[tuple[float, float, float]]
    cells: list[float | None]
    score = [scores(g.text, q.references) if not g.refused else (0.0, 0.0, 0.0) for q, g in able]
    answered = [g for g in given if not g.refused]
    refused = sum(g.refused for g in given)
    unanswerable = len(questions) - len(able)
    right = refused - sum(g.refused for _, g in able)
    cells = [mean([value[i] for value in score]) for i in range(3)] if able else [None] * 3
    cells.append(ratio(sum(g.cited for g in answered), sum(g.sentences for g in answered)))
    exact = ratio(sum(g.exact for g in answered), sum(g.quotes for g in answered))
    refusal_ratios = (
        [ratio(right, refused), ratio(right, unanswerable)] if unanswerable else [None, None]
    )
    cells += [exact, *refusal_ratios]
    return "".join(cell(value, 8 if i == 4 else 7) for i, value in enumerate(cells))


def cell(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.1%}"


def ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


# -- sides ---------------------------------------------------------------------------------


def ours(generator: Any) -> Side:
    def side(questions: Sequence[Question]) -> Iterator[Given]:
        for question in questions:
            answer = generator.answer(question.text, question.hits)
            exact = [
                question.documents[c.uri][c.start : c.end] == c.quote for c in answer.citations
            ]
            claims = [s for s in answer.sentences if s.status != "needs_none"]
            supported = [s for s in claims if s.status == "supported"]
            cited = sum(any(exact[i] for i in s.citations) for s in supported)
            yield Given(
                strip_markers(answer.text),
                answer.status == "abstained",
                len(claims),
                cited,
                len(exact),
                sum(exact),
            )

    return side


def peer(name: str, python: str, url: str, key: str) -> Side:
    verifier = LexicalVerifier()

    def side(questions: Sequence[Question]) -> Iterator[Given]:
        script = Path(__file__).with_name("answers_peers.py")
        with subprocess.Popen(
            [python, str(script), name, url, key, str(MOST_TOKENS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin and process.stdout
            for question in questions:
                request = {
                    "question": question.text,
                    "passages": [[h.chunk.uri, h.chunk.text] for h in question.hits],
                }
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                reply = json.loads(process.stdout.readline())
                yield judge_reply(reply, question, verifier)

    return side


def judge_reply(reply: dict[str, Any], question: Question, verifier: LexicalVerifier) -> Given:
    """Measure a peer's reply in the same way as ours; the nodes that it cites are its quotes."""
    text, nodes = reply["text"].strip(), reply["sources"]
    claims = [text[a:b] for a, b in sentences(text) if re.search(r"\w", text[a:b])]
    cited = quotes = exact = 0
    for claim in claims:
        cited_nodes = [nodes[n - 1] for n in find_marker_numbers(claim) if 1 <= n <= len(nodes)]
        quotes += len(cited_nodes)
        verbatim = [quote for uri, quote in cited_nodes if quote in question.documents[uri]]
        exact += len(verbatim)
        claim_text = strip_markers(claim)
        support = verifier.support([claim_text], verbatim)[0] if verbatim else [0.0]
        cited += max(support) >= verifier.threshold
    refused = (
        not text
        or any(starts_with_refusal(text[a:b]) for a, b in sentences(text))
        or "empty response" in text.lower()
    )
    return Given(strip_markers(text), refused, len(claims), cited, quotes, exact)


# -- questions -----------------------------------------------------------------------------


def dataset(name: str) -> Callable[[Path, Path], Iterator[Question]]:
    def read(data: Path, place: Path) -> Iterator[Question]:
        lines = list(rows(data / "qa" / f"{name}.jsonl"))
        answerable = [line for line in lines if line["answerable"]][:EACH]
        unanswerable = [line for line in lines if not line["answerable"]][:EACH]
        with Pipeline(index=place / name, k=K) as pipeline:
            pipeline.ingest(Dataset(path=data / "retrieval" / name))
            for line in answerable + unanswerable:
                yield make_question(pipeline, line["question"], line["answers"], line["answerable"])

    return read


def foreign(data: Path, place: Path) -> Iterator[Question]:
    """Yield questions of other collections, which the passages cannot answer."""
    share = -(-EACH // len(OTHERS))
    with Pipeline(index=place / "squad2", k=K) as pipeline:
        for name in OTHERS:
            for row in list(rows(data / "retrieval" / name / "queries.jsonl"))[:share]:
                yield make_question(pipeline, row["text"], [], False)


OTHERS = ("doc2dial", "cisi", "musique")


def tatqa(data: Path, place: Path) -> Iterator[Question]:
    """Yield questions about financial tables (as Markdown) and the text around them."""
    passages: list[tuple[str, list[str]]] = []
    folder = place / "tatqa-documents"
    folder.mkdir()
    for page in rows(data / "qa" / "tatqa.jsonl"):
        lines = ["| " + " | ".join(cells) + " |" for cells in page["table"]]
        lines.insert(1, "|" + "---|" * len(page["table"][0]))
        text = "\n".join(lines) + "\n\n" + "\n\n".join(p["text"] for p in page["paragraphs"])
        (folder / f"{page['id']}.md").write_text(text, encoding="utf-8")
        for entry in page["questions"][:1]:
            right = entry["answer"]
            references = [
                str(reference) for reference in (right if isinstance(right, list) else [right])
            ]
            if entry.get("answer_type") == "span":
                passages.append((entry["question"], references))
    with Pipeline(index=place / "tatqa", k=K) as pipeline:
        pipeline.ingest(folder)
        for question, references in passages[:EACH]:
            yield make_question(pipeline, question, references, True)


SETS: dict[str, Callable[[Path, Path], Iterator[Question]]] = {
    "squad2": dataset("squad2"),
    "foreign": foreign,
    "hotpotqa": dataset("hotpotqa"),
    "musique": dataset("musique"),
    "tatqa": tatqa,
}


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# -- scores --------------------------------------------------------------------------------


def scores(text: str, references: Sequence[str]) -> tuple[float, float, float]:
    """Return exact match, token F1 and containment (0..1), each for the best reference."""
    normalized_text = normalise_answer(text)
    matches = [
        (
            normalized_text == (ref := normalise_answer(r)),
            compute_word_f1(normalized_text, ref),
            ref in normalized_text,
        )
        for r in references
    ]
    return (
        float(max(match[0] for match in matches)),
        max(match[1] for match in matches),
        float(max(match[2] for match in matches)),
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    options.add_argument("peers", nargs="?")
    options.add_argument("--extractive", action="store_true")
    options.add_argument("--minilm", type=Path)
    arguments = options.parse_args()
    if arguments.extractive:
        measure_extractive(arguments.data, arguments.minilm)
    else:
        main(arguments.data, arguments.peers)

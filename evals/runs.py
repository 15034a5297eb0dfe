"""Runs: every question asked, every answer scored, nothing paid for twice, nothing lost.

A run is a folder. ``questions.jsonl`` holds what was asked, ``run.json`` how; ``items.jsonl`` gets
a line for each answer when it is there, ``scores.jsonl`` one for each score, and what models
replied is kept in ``replies.sqlite``. A run that was killed goes on where it was, when the same
folder is given again. ``results.json`` and ``report.html`` are made of these, and have no times in
them: the same answers give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evals.metrics import Case, Metric, chosen
from evals.questions import Question, load_questions, questions_hash
from evals.samples import Sample, passages
from evals.scores import Score, Summary
from evals.support import Backend, backend
from rag import Pipeline
from rag.errors import ConfigError, QueryError, RagError
from rag.llm.base import ChatModel
from rag.llm.cache import CompletionCache, caching
from rag.llm.calls import metered
from rag.types import Noun, Usage

QUESTIONS, SETTINGS, ITEMS, SCORES, REPLIES, RESULTS, REPORT = (
    "questions.jsonl",
    "run.json",
    "items.jsonl",
    "scores.jsonl",
    "replies.sqlite",
    "results.json",
    "report.html",
)
_FORMAT = 1


class Item(Noun):
    """What came of a question: a sample, or why there is none.

    ``key`` changes with the question, the pipeline, and the index; ``seconds`` and ``usage`` are
    what the answer took when it was made.
    """

    id: str
    key: str
    sample: Sample | None = None
    error: str = ""
    seconds: float = 0.0
    usage: Usage = Usage()


@dataclass
class RunResult:
    """A run as it is now: its questions, their answers and scores, in the order of the questions.

    ``scores`` has for each metric one score a question; a question that was not answered, or not
    asked, has failed in every one.
    """

    name: str
    settings: Mapping[str, Any]
    questions: Sequence[Question]
    items: Mapping[str, Item]
    scores: Mapping[str, Sequence[Score]]
    metrics: Sequence[Metric]
    usage: Usage = field(default_factory=Usage)
    stopped: str = ""
    """Why not every question was asked; "" where all were."""
    corrected: dict[str, Any] = field(default_factory=dict)
    """Rates corrected by judgements of people (`evals.calibration`)."""

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """What each metric says of all answers."""
        return {m.name: m.summarise(self.scores[m.name]) for m in self.metrics}

    @property
    def failures(self) -> int:
        """Questions that were not answered, or for which a metric failed."""
        return sum(
            any(scores[i].status == "failed" for scores in self.scores.values())
            or (not self.scores and self.items.get(question.id) is None)
            for i, question in enumerate(self.questions)
        )

    def as_json(self) -> dict[str, Any]:
        """Summaries, settings and counts, as plain data."""
        found: dict[str, Any] = {
            "questions": len(self.questions),
            "answered": sum(item.sample is not None for item in self.items.values()),
            "failures": self.failures,
            "stopped": self.stopped,
            "backend": self.settings.get("backend", ""),
            "metrics": {name: summary.as_json() for name, summary in self.summaries.items()},
        }
        if self.corrected:
            found["corrected"] = self.corrected
        return found


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a run may cost at most, before it begins. ``usd`` is None where a price is not known."""

    questions: int
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None

    def __str__(self) -> str:
        """For people."""
        if not self.calls:
            return f"{self.questions:,} questions, no chat model: nothing to pay"
        cost = "at a price that is not known" if self.usd is None else f"at most ${self.usd:,.2f}"
        return (
            f"{self.questions:,} questions, about {self.calls:,} calls, {self.input_tokens:,} "
            f"tokens in and {self.output_tokens:,} out: {cost}"
        )


def run(
    pipeline: Pipeline | None,
    questions: Sequence[Question],
    folder: Path,
    *,
    metrics: Sequence[Metric] | None = None,
    support: Backend | None = None,
    judge: ChatModel | None = None,
    concurrency: int = 4,
    budget: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RunResult:
    """Ask every question and score every answer; what is in `folder` already is not done again.

    Without a `pipeline`, the questions must bring the answers that are to be scored. `budget` is in
    US dollars: when it is spent no further question is begun (those under way are finished), and
    the rest count as failed until the run is taken up again. An answer that fails is asked for
    again next time. Raises `ConfigError` where `folder` holds a run of other questions, or a price
    is not known and there is a `budget`.
    """
    wanted = list(metrics if metrics is not None else chosen())
    judge_backend = support or backend()
    if concurrency < 1:
        raise ConfigError(f"at least one question is asked at a time, not {concurrency}")
    if budget is not None:
        if budget <= 0:
            raise ConfigError(f"a budget is more than nothing: {budget}")
        _require_prices(models_of(pipeline, judge_backend, judge))
    if pipeline is None and (bare := [q.id for q in questions if q.answer is None]):
        raise QueryError(
            f"question {bare[0]!r} has no answer to score: give a pipeline (-p), or a `response` "
            "for each question"
        )
    settings = _settings(pipeline, questions, judge_backend, judge, wanted)
    with _locked(folder, questions, settings) as store:
        worker = _Worker(pipeline, wanted, judge_backend, judge, store)
        stopped = _work(worker, questions, store, concurrency, budget, progress)
        result = _result(folder, settings, questions, store, wanted, stopped)
        write_results(result, folder)
    return result


def read_run(folder: Path, *, metrics: Sequence[Metric] | None = None) -> RunResult:
    """The run in `folder` as it is there. Raises `QueryError` where there is none."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if settings.get("format") != _FORMAT:
            raise QueryError(f"{folder} is a run of another version of citewell")
        names = settings.get("metrics", [])
    except (OSError, ValueError, AttributeError) as error:
        raise QueryError(f"{folder} is not a run: {getattr(error, 'strerror', error)}") from None
    questions = load_questions(folder / QUESTIONS)
    store = _Store(folder)
    wanted = list(metrics if metrics is not None else chosen(names))
    return _result(folder, settings, questions, store, wanted, settings.get("stopped", ""))


# -- doing ---------------------------------------------------------------------------------


class _Worker:
    """Answers a question and scores the answer; used by several threads."""

    def __init__(
        self,
        pipeline: Pipeline | None,
        metrics: Sequence[Metric],
        support: Backend,
        judge: ChatModel | None,
        store: _Store,
    ) -> None:
        self.pipeline, self.metrics, self.support, self.judge = pipeline, metrics, support, judge
        self.store = store
        state = ""
        if pipeline is not None:
            library = pipeline.open().library
            stats = library.stats()
            state = f"{pipeline.fingerprint}:{library.state.generation}:{stats.documents}"
        self._state = state
        self._scoring = f"{support.fingerprint}:{judge.fingerprint if judge else ''}"

    def key(self, question: Question) -> str:
        """Changes with everything an answer depends on."""
        said = f"{self._state}\n{question.model_dump_json()}"
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def score_key(self, item: Item, metric: Metric) -> str:
        """Changes with everything a score depends on."""
        said = f"{item.key}\n{metric.name}:{metric.version}\n{self._scoring}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def is_done(self, question: Question) -> bool:
        """Whether the answer and all its scores are there, and none has failed."""
        item = self.store.items.get(question.id)
        if item is None or item.key != self.key(question) or item.sample is None:
            return False
        return all(self._kept(item, metric) for metric in self.metrics)

    def _kept(self, item: Item, metric: Metric) -> bool:
        kept = self.store.scores.get((item.id, metric.name))
        return (
            kept is not None
            and kept[0] == self.score_key(item, metric)
            and kept[1].status != "failed"
        )

    def do(self, question: Question) -> Usage:
        """Answer and score; says what it cost. What fails is written down, with the reason."""
        with metered() as meter:
            item = self.store.items.get(question.id)
            if item is None or item.key != self.key(question) or item.sample is None:
                item = self._answered(question)
                self.store.add_item(item)
            if item.sample is not None:
                embedder = self.pipeline.embedder if self.pipeline else None
                case = Case(item.sample, self.support, embedder, self.judge)
                for metric in self.metrics:
                    if not self._kept(item, metric):
                        score = metric.score(case)
                        self.store.add_score(item.id, self.score_key(item, metric), metric, score)
            return meter.usage

    def _answered(self, question: Question) -> Item:
        started = time.perf_counter()
        key = self.key(question)
        known: dict[str, Any] = {
            "references": question.answers,
            "answerable": question.answerable,
            "gold": question.gold,
        }
        if self.pipeline is None or question.answer is not None:
            sample = Sample(
                id=question.id,
                question=question.question,
                answer=question.answer or "",
                contexts=passages(question.contexts),
                **known,
            )
            return Item(id=question.id, key=key, sample=sample)
        try:
            answer = self.pipeline.ask(question.question)
        except RagError as error:
            return Item(id=question.id, key=key, error=" ".join(str(error).split())[:500])
        sample = Sample.of(question.id, question.question, answer, **known)
        seconds = round(time.perf_counter() - started, 4)
        return Item(id=question.id, key=key, sample=sample, seconds=seconds, usage=answer.usage)


def _work(
    worker: _Worker,
    questions: Sequence[Question],
    store: _Store,
    concurrency: int,
    budget: float | None,
    progress: Callable[[int, int], None] | None,
) -> str:
    """Do what is not done; returns why not all of it was."""
    waiting = [question for question in questions if not worker.is_done(question)]
    done = len(questions) - len(waiting)
    spent = 0.0
    stopped = ""
    cache = CompletionCache(store.folder / REPLIES)
    under_way: set[Future[Usage]] = set()
    upcoming = iter(waiting)
    try:
        with caching(cache), ThreadPoolExecutor(concurrency) as threads:
            try:
                while True:
                    while len(under_way) < concurrency and not stopped:
                        if budget is not None and spent >= budget:
                            stopped = f"the budget of ${budget:g} was spent (${spent:.4f})"
                            break
                        question = next(upcoming, None)
                        if question is None:
                            break
                        # the contexts hold the cache
                        under_way.add(threads.submit(copy_context().run, worker.do, question))
                    if not under_way:
                        break
                    finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in finished:
                        spent += future.result().cost_usd or 0.0
                        done += 1
                        if progress:
                            progress(done, len(questions))
            except BaseException:
                for future in under_way:
                    future.cancel()
                raise
    finally:
        cache.close()
    left = sum(1 for _ in upcoming)
    return f"{stopped}: {left:,} questions were not asked" if stopped and left else ""


# -- the folder ----------------------------------------------------------------------------


class _Store:
    """What is in a run's folder; lines are added as a whole, and the last of an id counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guard = threading.Lock()
        self.items: dict[str, Item] = {}
        self.scores: dict[tuple[str, str], tuple[str, Score]] = {}
        for record in _records(folder / ITEMS):
            try:
                item = Item.model_validate(record)
            except ValidationError:
                continue  # of another version: it is asked again
            self.items[item.id] = item
        for record in _records(folder / SCORES):
            try:
                place = (str(record["id"]), str(record["metric"]))
                self.scores[place] = (str(record["key"]), Score.model_validate(record["score"]))
            except (KeyError, TypeError, ValidationError):
                continue

    def add_item(self, item: Item) -> None:
        """Write an item down; it is on disk when this returns."""
        with self._guard:
            self.items[item.id] = item
            _append(self.folder / ITEMS, item.model_dump(mode="json", exclude_defaults=True))

    def add_score(self, id: str, key: str, metric: Metric, score: Score) -> None:
        """Write a score down."""
        with self._guard:
            self.scores[id, metric.name] = (key, score)
            plain = score.model_dump(mode="json", exclude_defaults=True)
            line = {"id": id, "metric": metric.name, "key": key, "score": plain}
            _append(self.folder / SCORES, line)


def _append(path: Path, record: Mapping[str, Any]) -> None:
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    with path.open("ab") as file:
        file.write(line.encode("utf-8", "surrogatepass") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _records(path: Path) -> Iterator[Any]:
    """Whole lines; the last one of a run that was killed may be none, and is cut off."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        with path.open("r+b") as file:
            file.truncate(whole)
    for line in raw[:whole].split(b"\n"):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


@contextmanager
def _locked(
    folder: Path, questions: Sequence[Question], settings: Mapping[str, Any]
) -> Iterator[_Store]:
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be the folder of a run: {error.strerror}") from None
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another process is running in {folder}") from None
    try:
        _check_folder(folder, settings)
        lines = [q.model_dump(mode="json", exclude_defaults=True) for q in questions]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        _write(folder / QUESTIONS, text)
        _write(folder / SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        yield _Store(folder)
    finally:
        lock.release()


def _check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    strangers = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
    if not (folder / SETTINGS).is_file():
        if strangers:
            raise ConfigError(f"{folder} is not empty, and not a run: {strangers[0]} is in it")
        return
    try:
        known = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # killed while it was written
    if known.get("questions") not in (None, settings["questions"]):
        raise ConfigError(
            f"{folder} holds a run of other questions: take another folder (--out), or delete it"
        )


def _write(path: Path, text: str) -> None:
    """Write a file as a whole, so that none is ever there by half."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8", errors="surrogatepass", newline="\n")
    beside.replace(path)


def _settings(
    pipeline: Pipeline | None,
    questions: Sequence[Question],
    support: Backend,
    judge: ChatModel | None,
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "questions": questions_hash(questions),
        "pipeline": pipeline.to_yaml(defaults=False) if pipeline is not None else "",
        "backend": support.description,
        "judge": judge.config() if judge is not None else None,
        "metrics": [metric.name for metric in metrics],
    }


def _result(
    folder: Path,
    settings: Mapping[str, Any],
    questions: Sequence[Question],
    store: _Store,
    metrics: Sequence[Metric],
    stopped: str,
) -> RunResult:
    scores: dict[str, list[Score]] = {}
    for metric in metrics:
        scores[metric.name] = [_score_of(question, store, metric) for question in questions]
    items = {q.id: store.items[q.id] for q in questions if q.id in store.items}
    usage = Usage()
    for item in items.values():
        usage += item.usage
    return RunResult(
        name=folder.resolve().name,
        settings=settings,
        questions=questions,
        items=items,
        scores=scores,
        metrics=metrics,
        usage=usage,
        stopped=stopped,
    )


def _score_of(question: Question, store: _Store, metric: Metric) -> Score:
    item = store.items.get(question.id)
    if item is None:
        return Score.failed("it was not asked")
    if item.sample is None:
        return Score.failed(f"there is no answer: {item.error}")
    kept = store.scores.get((question.id, metric.name))
    return kept[1] if kept else Score.failed("it was not scored")


def write_results(result: RunResult, folder: Path) -> None:
    """Write ``run.json``, ``results.json`` and ``report.html`` into the run's folder."""
    from evals.report import as_html

    settings = {**result.settings, "stopped": result.stopped}
    _write(folder / SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    _write(folder / RESULTS, json.dumps(result.as_json(), indent=2, ensure_ascii=False) + "\n")
    _write(folder / REPORT, as_html(result))


# -- money ---------------------------------------------------------------------------------


def models_of(
    pipeline: Pipeline | None, support: Backend, judge: ChatModel | None
) -> list[ChatModel]:
    """Every chat model that a run may ask."""
    found = list(_models_in(pipeline)) if pipeline is not None else []
    if (model := getattr(support, "model", None)) is not None:
        found.append(model)
    if (verifier := getattr(support, "verifier", None)) is not None:
        found += _models_in(verifier)
    if judge is not None:
        found.append(judge)
    return list({model.fingerprint: model for model in found}.values())


def _models_in(part: Any) -> Iterator[ChatModel]:
    from rag.component import Component

    if isinstance(part, ChatModel):
        yield part
    elif isinstance(part, Component):
        for name in type(part).model_fields:
            yield from _models_in(getattr(part, name))
    elif isinstance(part, tuple | list):
        for each in part:
            yield from _models_in(each)


def _require_prices(models: Iterable[ChatModel]) -> None:
    for model in models:
        if model.prices is None:
            raise ConfigError(
                f"the price of {getattr(model, 'model', model.name)!r} is not known, so a budget "
                "cannot be kept: set input_price and output_price of the model"
            )


def estimate(
    pipeline: Pipeline | None,
    questions: Sequence[Question],
    *,
    metrics: Sequence[Metric],
    support: Backend,
    judge: ChatModel | None = None,
    folder: Path | None = None,
) -> CostEstimate:
    """What a run may cost at most: full contexts and full replies, retries apart.

    With the `folder` of a run that was begun, only what is left of it is counted.
    """
    left = list(questions)
    if folder is not None and (folder / SETTINGS).is_file():
        store = _Store(folder)
        left = [q for q in left if (item := store.items.get(q.id)) is None or item.sample is None]
    calls = tokens_in = tokens_out = 0
    usd: float | None = 0.0

    def add(model: ChatModel, times: int, each_in: int) -> None:
        nonlocal calls, tokens_in, tokens_out, usd
        calls += times
        tokens_in += times * each_in
        tokens_out += times * model.reply_tokens
        prices = model.prices
        if prices is None or usd is None:
            usd = None
        else:
            usd += times * (each_in * prices[0] + model.reply_tokens * prices[1]) / 1e6

    context = _CONTEXT
    asked = sum(question.answer is None for question in left)
    if pipeline is not None:
        context = int(getattr(pipeline.generator, "budget", _CONTEXT))
        for model in _models_in(pipeline):
            add(model, asked, context + _PROMPT)
    each = sum(metric.group in ("generation", "citation", "context") for metric in metrics)
    asked_of = getattr(support, "model", None)
    if isinstance(asked_of, ChatModel) and each:
        times = len(left) * min(each, _MATRIX) * int(getattr(support, "repeats", 1))
        add(asked_of, times, context + _PROMPT)
    if judge is not None:
        graded = sum("judge" in metric.needs for metric in metrics)
        add(judge, len(left) * graded, _PROMPT + judge.reply_tokens)
    return CostEstimate(len(left), calls, tokens_in, tokens_out, usd)


_CONTEXT, _PROMPT = 3_000, 500  # tokens
_MATRIX = 8  # times an answer is judged for all metrics at once

"""Evaluation runs: every question is asked, every answer scored, and nothing is paid for twice.

A run is a folder. ``questions.jsonl`` holds the questions and ``run.json`` the settings.
``items.jsonl`` receives a line for each answer, ``scores.jsonl`` one for each score, and
``replies.sqlite`` caches the replies of models. A run that was stopped continues in the same
folder. ``results.json`` and ``report.html`` contain no times: the same answers give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evals import journal
from evals.costs import CostEstimate, collect_models, estimate_cost, require_prices
from evals.judges import SupportJudge, make_judge
from evals.metrics import Case, Metric, choose_metrics
from evals.questions import Question, load_questions, questions_hash
from evals.samples import Sample, passages
from evals.scores import Score, Summary
from rag import Pipeline
from rag.errors import ConfigError, QueryError, RagError
from rag.llm.base import ChatModel
from rag.llm.cache import CompletionCache, use_cache
from rag.llm.usage import track_usage
from rag.types import FrozenModel, Usage

QUESTIONS, SETTINGS, ITEMS, SCORES, REPLIES, SPENT, RESULTS, REPORT = (
    "questions.jsonl",
    "run.json",
    "items.jsonl",
    "scores.jsonl",
    "replies.sqlite",
    "spent.jsonl",
    "results.json",
    "report.html",
)
_FORMAT = 1


class Item(FrozenModel):
    """The outcome of a question: a sample, or the reason why there is none.

    ``key`` changes with the question, the pipeline and the index. ``seconds`` and ``usage`` are
    those of the answer when it was made.
    """

    id: str
    key: str
    sample: Sample | None = None
    error: str = ""
    seconds: float = 0.0
    usage: Usage = Usage()


@dataclass
class RunResult:
    """The current state of a run: questions, answers and scores, in the order of the questions.

    ``scores`` has one score per question for each metric. A question without an answer has failed
    in every metric.
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
    gates: list[dict[str, str]] = field(default_factory=list)
    """What became of each gate: what it is, its outcome, and why."""
    corrected: dict[str, Any] = field(default_factory=dict)
    """Rates corrected by judgements of people (`evals.calibration`)."""

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """The summary of each metric over all answers."""
        return {m.name: m.summarise(self.scores[m.name]) for m in self.metrics}

    def _repr_html_(self) -> str:
        from rag.types.html_view import render_table

        rows = [(name, str(summary)) for name, summary in self.summaries.items()]
        title = f"{self.name}: {len(self.questions):,} questions, {self.failures:,} failed"
        return render_table(title, ("metric", "mean, 95% interval, answers"), rows)

    @property
    def failures(self) -> int:
        """Number of questions without an answer or with a failed metric."""
        return sum(
            any(scores[i].status == "failed" for scores in self.scores.values())
            or (not self.scores and self.items.get(question.id) is None)
            for i, question in enumerate(self.questions)
        )

    def failure_reasons(self, limit: int) -> list[tuple[str, int]]:
        """Return the most frequent reasons of failed scores, with their counts."""
        counts = Counter(
            score.reason
            for scores in self.scores.values()
            for score in scores
            if score.status == "failed"
        )
        return counts.most_common(limit)

    def as_json(self) -> dict[str, Any]:
        """Return summaries, settings and counts as plain data."""
        plain: dict[str, Any] = {
            "questions": len(self.questions),
            "answered": sum(item.sample is not None for item in self.items.values()),
            "failures": self.failures,
            "stopped": self.stopped,
            "reasons": dict(self.failure_reasons(20)),
            "backend": self.settings.get("backend", ""),
            "metrics": {name: summary.as_json() for name, summary in self.summaries.items()},
        }
        if self.corrected:
            plain["corrected"] = self.corrected
        return plain


def run(
    pipeline: Pipeline | None,
    questions: Sequence[Question],
    folder: Path,
    *,
    metrics: Sequence[Metric | str] | None = None,
    support: SupportJudge | None = None,
    judge: ChatModel | None = None,
    concurrency: int = 4,
    budget: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RunResult:
    """Ask every question and score every answer. Results that `folder` already has are kept.

    `metrics` are metrics or their names (default: the usual ones). `support` judges support
    (default: the `judge`, or the lexical verifier). Without a `pipeline`, the questions must
    contain the answers to score. `budget` is in US dollars: when it is spent, no further question
    starts, running ones finish, and the others count as failed until the run continues. A failed
    answer is tried again next time. Raises `ConfigError` if `folder` holds a run of other
    questions, or if there is a `budget` and a price is unknown.
    """
    chosen_metrics = choose_metrics(metrics or ())
    judge_backend = support or make_judge(model=judge)
    if concurrency < 1:
        raise ConfigError(f"at least one question is asked at a time, not {concurrency}")
    if budget is not None:
        if not 0 < budget < math.inf:
            raise ConfigError(f"a budget is an amount of dollars, not {budget}")
        require_prices(collect_models(pipeline, judge_backend, judge))
    if pipeline is None and (unanswered_ids := [q.id for q in questions if q.answer is None]):
        raise QueryError(
            f"question {unanswered_ids[0]!r} has no answer to score: give a pipeline (-p), or a "
            "`response` for each question"
        )
    settings = _collect_settings(pipeline, questions, judge_backend, judge, chosen_metrics)
    with _lock_folder(folder, questions, settings) as store:
        worker = _Worker(pipeline, chosen_metrics, judge_backend, judge, store, settings)
        stopped = _process_open_questions(worker, questions, store, concurrency, budget, progress)
        result = _build_result(folder, settings, questions, store, chosen_metrics, stopped)
        write_results(result, folder)
    return result


def read_run(folder: Path, *, metrics: Sequence[Metric] | None = None) -> RunResult:
    """Return the run in `folder`. Raises `QueryError` if there is none."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if settings.get("format") != _FORMAT:
            raise QueryError(f"{folder} is a run of another version of citewell")
        names = settings.get("metrics", [])
    except (OSError, ValueError, AttributeError) as error:
        raise QueryError(f"{folder} is not a run: {getattr(error, 'strerror', error)}") from None
    questions = load_questions(folder / QUESTIONS)
    store = _Store(folder)
    chosen_metrics = list(metrics if metrics is not None else choose_metrics(names))
    return _build_result(
        folder, settings, questions, store, chosen_metrics, settings.get("stopped", "")
    )


# -- doing ---------------------------------------------------------------------------------


def item_key(state: str, question: Question) -> str:
    """Return a key that changes with everything an answer depends on.

    `state` identifies the pipeline and its index.
    """
    identity = f"{state}\n{question.model_dump_json()}"
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def score_key(item: Item, metric: Metric, scoring: str) -> str:
    """Return a key that changes with everything a score depends on.

    `scoring` identifies the judge.
    """
    identity = f"{item.key}\n{metric.name}:{metric.version}\n{scoring}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


class _Worker:
    """Answers a question and scores the answer. Threads share it."""

    def __init__(
        self,
        pipeline: Pipeline | None,
        metrics: Sequence[Metric],
        support: SupportJudge,
        judge: ChatModel | None,
        store: _Store,
        settings: Mapping[str, Any],
    ) -> None:
        self.pipeline, self.metrics, self.support, self.judge = pipeline, metrics, support, judge
        self.store = store
        self._state, self._scoring = str(settings["state"]), str(settings["scoring"])

    def key(self, question: Question) -> str:
        """See `item_key`."""
        return item_key(self._state, question)

    def score_key(self, item: Item, metric: Metric) -> str:
        """See `score_key`."""
        return score_key(item, metric, self._scoring)

    def is_done(self, question: Question) -> bool:
        """Whether the answer and all its scores exist, and none has failed."""
        item = self.store.items.get(question.id)
        if item is None or item.key != self.key(question) or item.sample is None:
            return False
        return all(self._has_current_score(item, metric) for metric in self.metrics)

    def _has_current_score(self, item: Item, metric: Metric) -> bool:
        stored_score = self.store.scores.get((item.id, metric.name))
        return (
            stored_score is not None
            and stored_score[0] == self.score_key(item, metric)
            and stored_score[1].status != "failed"
        )

    def process(self, question: Question) -> Usage:
        """Answer and score a question. Return the usage. Failures are saved with their reason."""
        with track_usage() as tracker:
            item = self.store.items.get(question.id)
            if item is None or item.key != self.key(question) or item.sample is None:
                item = self._answer(question)
                self.store.add_item(item)
            if item.sample is not None:
                embedder = self.pipeline.embedder if self.pipeline else None
                case = Case(item.sample, self.support, embedder, self.judge)
                scores = {
                    metric.name: (self.score_key(item, metric), metric.score(case))
                    for metric in self.metrics
                    if not self._has_current_score(item, metric)
                }
                self.store.add_scores(item.id, scores)
            self.store.add_usage(tracker.usage)
            return tracker.usage

    def _answer(self, question: Question) -> Item:
        started = time.perf_counter()
        key = self.key(question)
        if self.pipeline is None or question.answer is not None:
            return Item(id=question.id, key=key, sample=_make_given_sample(question))
        reference_fields = _reference_fields(question)
        try:
            answer = self.pipeline.ask(question.question)
        except ConfigError:  # a key or an extra that is missing: for every question
            raise
        except RagError as error:
            return Item(id=question.id, key=key, error=" ".join(str(error).split())[:500])
        except Exception as error:  # one question is not to end the run: it is counted, and shown
            reason = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
            return Item(id=question.id, key=key, error=reason[:500])
        sample = Sample.of(question.id, question.question, answer, **reference_fields)
        seconds = round(time.perf_counter() - started, 4)
        return Item(id=question.id, key=key, sample=sample, seconds=seconds, usage=answer.usage)


def _process_open_questions(
    worker: _Worker,
    questions: Sequence[Question],
    store: _Store,
    concurrency: int,
    budget: float | None,
    progress: Callable[[int, int], None] | None,
) -> str:
    """Process the open questions. Return why not all of them were asked, or ""."""
    open_questions = [question for question in questions if not worker.is_done(question)]
    done_count = len(questions) - len(open_questions)
    spent_usd = 0.0
    stopped = ""
    cache = CompletionCache(store.folder / REPLIES)
    running: set[Future[Usage]] = set()
    upcoming = iter(open_questions)
    try:
        with use_cache(cache), ThreadPoolExecutor(concurrency) as threads:
            try:
                while True:
                    while len(running) < concurrency and not stopped:
                        if budget is not None and spent_usd >= budget:
                            stopped = f"the budget of ${budget:g} was spent (${spent_usd:.4f})"
                            break
                        question = next(upcoming, None)
                        if question is None:
                            break
                        # the contexts hold the cache
                        running.add(threads.submit(copy_context().run, worker.process, question))
                    if not running:
                        break
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        spent_usd += future.result().cost_usd or 0.0
                        done_count += 1
                        if progress:
                            progress(done_count, len(questions))
            except BaseException:
                for future in running:
                    future.cancel()
                raise
    finally:
        cache.close()
    remaining_count = sum(1 for _ in upcoming)
    return (
        f"{stopped}: {remaining_count:,} questions were not asked"
        if stopped and remaining_count
        else ""
    )


# -- the folder ----------------------------------------------------------------------------


class _Store:
    """The files of a run. Lines are written whole, and the last line of an id counts."""

    def __init__(self, folder: Path, *, repair: bool = False) -> None:
        """With `mend`, a torn last line is cut off: for who holds the lock."""
        self.folder = folder
        self._guard = threading.Lock()
        self.items: dict[str, Item] = {}
        self.scores: dict[tuple[str, str], tuple[str, Score]] = {}
        for record in journal.read_records(folder / ITEMS, repair=repair):
            try:
                item = Item.model_validate(record)
            except ValidationError:
                continue  # of another version: it is asked again
            self.items[item.id] = item
        self.usage = Usage()
        for record in journal.read_records(folder / SPENT, repair=repair):
            with suppress(ValidationError):
                self.usage += Usage.model_validate(record)
        for record in journal.read_records(folder / SCORES, repair=repair):
            try:
                score_id = (str(record["id"]), str(record["metric"]))
                self.scores[score_id] = (str(record["key"]), Score.model_validate(record["score"]))
            except (KeyError, TypeError, ValidationError):
                continue

    def add_item(self, item: Item) -> None:
        """Save an item. It is on disk when this returns."""
        with self._guard:
            self.items[item.id] = item
            plain = item.model_dump(mode="json", exclude_defaults=True)
            journal.append_records(self.folder / ITEMS, [plain])

    def add_usage(self, usage: Usage) -> None:
        """Save the usage of paid calls."""
        if usage.calls:
            with self._guard:
                self.usage += usage
                plain = usage.model_dump(mode="json", exclude_defaults=True)
                journal.append_records(self.folder / SPENT, [plain])

    def add_scores(self, id: str, scores: Mapping[str, tuple[str, Score]]) -> None:
        """Save the scores of an answer: by metric, each with its key."""
        with self._guard:
            self.scores.update({(id, name): keyed_score for name, keyed_score in scores.items()})
            lines = [
                {
                    "id": id,
                    "metric": name,
                    "key": key,
                    "score": score.model_dump(mode="json", exclude_defaults=True),
                }
                for name, (key, score) in scores.items()
            ]
            journal.append_records(self.folder / SCORES, lines)


@contextmanager
def _lock_folder(
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
        _write_atomically(folder / QUESTIONS, text)
        _write_atomically(
            folder / SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        )
        yield _Store(folder, repair=True)
    finally:
        lock.release()


def _check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    other_files = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
    if not (folder / SETTINGS).is_file():
        if other_files:
            raise ConfigError(f"{folder} is not empty, and not a run: {other_files[0]} is in it")
        return
    try:
        old_settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # killed while it was written
    if not isinstance(old_settings, dict):
        raise ConfigError(f"{folder / SETTINGS} is not that of a run")
    if old_settings.get("questions") not in (None, settings["questions"]):
        raise ConfigError(
            f"{folder} holds a run of other questions: take another folder (--out), or delete it"
        )


def _write_atomically(path: Path, text: str) -> None:
    """Write a file through a temporary file, so that no reader sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8", errors="surrogatepass", newline="\n")
    partial.replace(path)


def _collect_settings(
    pipeline: Pipeline | None,
    questions: Sequence[Question],
    support: SupportJudge,
    judge: ChatModel | None,
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    state = ""
    if pipeline is not None:
        document_store = pipeline.open().document_store
        documents = document_store.stats().documents
        state = f"{pipeline.fingerprint}:{document_store.state.generation}:{documents}"
    return {
        "format": _FORMAT,
        "state": state,
        "scoring": f"{support.fingerprint}:{judge.fingerprint if judge else ''}",
        "questions": questions_hash(questions),
        "pipeline": _describe_pipeline(pipeline),
        "backend": support.description,
        "judge": judge.config() if judge is not None else None,
        "metrics": [metric.name for metric in metrics],
    }


def _describe_pipeline(pipeline: Pipeline | None) -> str:
    """Return the pipeline as YAML, or its configuration if YAML cannot hold all parts."""
    if pipeline is None:
        return ""
    return pipeline.to_yaml(defaults=False) if pipeline.is_plain else str(pipeline.config())


def _build_result(
    folder: Path,
    settings: Mapping[str, Any],
    questions: Sequence[Question],
    store: _Store,
    metrics: Sequence[Metric],
    stopped: str,
) -> RunResult:
    state, scoring = str(settings.get("state", "")), str(settings.get("scoring", ""))
    scores: dict[str, list[Score]] = {}
    for metric in metrics:
        scores[metric.name] = [_find_score(q, store, metric, state, scoring) for q in questions]
    items = {
        q.id: item
        for q in questions
        if (item := store.items.get(q.id)) and item.key == item_key(state, q)
    }
    return RunResult(
        name=folder.resolve().name,
        settings=settings,
        questions=questions,
        items=items,
        scores=scores,
        metrics=metrics,
        usage=store.usage,
        stopped=stopped,
        gates=list(settings.get("gates") or []),
        corrected=dict(settings.get("corrected") or {}),
    )


def _reference_fields(question: Question) -> dict[str, Any]:
    """Return the references of a question. A question with reference answers is answerable."""
    able = question.answerable
    return {
        "references": question.answers,
        "answerable": True if able is None and question.answers else able,
        "gold": question.gold,
    }


def _make_given_sample(question: Question) -> Sample:
    """Return the sample of a question that contains its answer."""
    return Sample(
        id=question.id,
        question=question.question,
        answer=question.answer or "",
        contexts=passages(question.contexts or ()),
        contexts_known=question.contexts is not None or question.answer is None,
        **_reference_fields(question),
    )


def _find_score(
    question: Question, store: _Store, metric: Metric, state: str, scoring: str
) -> Score:
    item = store.items.get(question.id)
    if item is None or item.key != item_key(state, question):
        reason = "it was not asked"
    elif item.sample is None:
        reason = f"there is no answer: {item.error}"
    else:
        stored_score = store.scores.get((question.id, metric.name))
        if stored_score and stored_score[0] == score_key(item, metric, scoring):
            return stored_score[1]
        return Score.failure("it was not scored")
    not_applicable_reason = metric.explain_not_applicable(_make_given_sample(question))
    return (
        Score.not_applicable(not_applicable_reason)
        if not_applicable_reason
        else Score.failure(reason)
    )


def write_results(result: RunResult, folder: Path) -> None:
    """Write ``run.json``, ``results.json`` and ``report.html`` to the folder of the run."""
    from evals.report import render_html

    settings = {**result.settings, "stopped": result.stopped}
    if result.gates:
        settings["gates"] = result.gates
    if result.corrected:
        settings["corrected"] = result.corrected
    _write_atomically(folder / SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    _write_atomically(
        folder / RESULTS, json.dumps(result.as_json(), indent=2, ensure_ascii=False) + "\n"
    )
    _write_atomically(folder / REPORT, render_html(result))


def estimate(
    pipeline: Pipeline | None,
    questions: Sequence[Question],
    *,
    metrics: Sequence[Metric],
    support: SupportJudge,
    judge: ChatModel | None = None,
    folder: Path | None = None,
) -> CostEstimate:
    """Return the maximum cost of a run, or of the rest of a run that was started in `folder`."""
    open_questions, outdated_count = list(questions), 0
    if folder is not None and (folder / SETTINGS).is_file():
        store = _Store(folder)
        settings = _collect_settings(pipeline, questions, support, judge, metrics)
        worker = _Worker(pipeline, metrics, support, judge, store, settings)
        open_questions = [question for question in questions if not worker.is_done(question)]
        outdated_count = sum(
            (item := store.items.get(q.id)) is not None and item.key != worker.key(q)
            for q in open_questions
        )
    cost = estimate_cost(pipeline, open_questions, metrics=metrics, support=support, judge=judge)
    return replace(cost, total_questions=len(questions), outdated_questions=outdated_count)

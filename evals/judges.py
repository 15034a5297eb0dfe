"""Support judges, which decide whether passages support a claim: by words, NLI, or a chat model."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from evals.scores import Unit, Verdict
from rag.concurrency import map_concurrently
from rag.errors import ConfigError, ModelError
from rag.llm.base import ChatModel
from rag.llm.cache import mark_repeat
from rag.llm.prompting import escape_prompt_markup, render_messages
from rag.llm.structured import fill
from rag.text.sentences import sentence_spans
from rag.verification import LexicalVerifier, Verifier, shared_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PASSAGE_SEPARATOR = "\n\n"  # joins passages that are judged as one text
JUDGES = ("lexical", "nli", "llm")
_MAX_EVIDENCE_SENTENCES = 3
_PENALTY_PER_SENTENCE = 0.02  # subtracted per evidence sentence, so short evidence wins ties
_SUPPORT_BY_VERDICT = {"supported": 1.0, "partly": 0.5, "unsupported": 0.0}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The support (0..1) of one claim by passages.

    ``support`` is the support by all passages together; None if the claim could not be judged, and
    then ``note`` gives the reason. ``by_passage`` has the support by each passage alone, or is
    empty. ``spread`` is the variance between a judge's repeats.
    """

    support: float | None
    by_passage: tuple[float | None, ...] = ()
    spread: float = 0.0
    note: str = ""


class SupportJudge(ABC):
    """Judge of whether passages support claims.

    ``name`` appears in reports. A claim is supported from ``threshold`` on, and partly supported
    from ``partial`` on.
    """

    name: str
    threshold: float
    partial: float
    calibrated_on: str = ""
    """The human judgements that the threshold is calibrated on; "" for none."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identity that changes exactly when verdicts can change."""

    @property
    @abstractmethod
    def description(self) -> str:
        """One line for reports: the model, the threshold and its calibration."""

    @property
    def _threshold_origin(self) -> str:
        dataset = self.calibrated_on
        origin = f"calibrated on {dataset}" if dataset else "not calibrated on human judgements"
        return f"threshold {self.threshold:g}, {origin}"

    @abstractmethod
    def judge(
        self, claims: Sequence[str], passages: Sequence[str], *, per_passage: bool = False
    ) -> list[Judgement]:
        """Judge every claim by all passages together; with `per_passage`, also by each alone.

        Returns one judgement per claim, in order. A claim that cannot be judged has the support
        None; it does not raise.
        """

    def verdict(self, support: float | None) -> Verdict:
        """Return the verdict for a support (None: the claim could not be judged)."""
        if support is None:
            return "failed"
        if support >= self.threshold:
            return "supported"
        return "partly" if support >= self.partial else "unsupported"

    def unit(
        self,
        claim: str,
        passages: Sequence[str],
        judgement: Judgement,
        start: int = -1,
        end: int = -1,
    ) -> Unit:
        """Make the unit of a judged claim, with its verdict and its evidence in `passages`.

        `start` and `end` are the claim's span in the answer.
        """
        verdict = self.verdict(judgement.support)
        has_support = verdict in ("supported", "partly")
        evidence = _locate_evidence(claim, passages, judgement) if has_support else None
        return Unit(
            claim=claim,
            start=start,
            end=end,
            passage=evidence[0] if evidence else None,
            support=judgement.support,
            evidence=(evidence[1], evidence[2]) if evidence else None,
            verdict=verdict,
            verifier=self.name,
            spread=judgement.spread,
            note=judgement.note,
        )


class VerifierJudge(SupportJudge):
    """Support judge that uses a verifier of `rag.verification`.

    A verifier that compares words judges all passages as one text. Any other verifier judges each
    passage alone and, if no passage supports the claim, the two best passages as one text.

    >>> judge = make_judge("lexical")
    >>> judge.judge(["It lasts 34 minutes."], ["A battery lasts 34 minutes."])[0].support > 0.5
    True
    """

    def __init__(self, verifier: Verifier, *, threshold: float | None = None) -> None:
        self.verifier = verifier
        self.name = verifier.name
        self.threshold = verifier.threshold if threshold is None else threshold
        self.calibrated_on = verifier.calibrated_on
        self.partial = min(verifier.partial, self.threshold)

    @property
    def fingerprint(self) -> str:
        """See `SupportJudge.fingerprint`."""
        return f"{self.verifier.fingerprint}:{self.threshold:g}"

    @property
    def description(self) -> str:
        """See `SupportJudge.description`."""
        model = getattr(self.verifier, "model", "")
        model_name = f" ({model})" if isinstance(model, str) and model else ""
        return f"{self.name}{model_name}, {self._threshold_origin}"

    def judge(
        self, claims: Sequence[str], passages: Sequence[str], *, per_passage: bool = False
    ) -> list[Judgement]:
        """See `SupportJudge.judge`. If the model fails, every claim fails."""
        if not claims:
            return []
        if not passages:
            return [Judgement(0.0) for _ in claims]
        try:
            return self._judge_passages(claims, passages, per_passage)
        except ModelError as error:
            note = " ".join(str(error).split())[:200]
            return [Judgement(None, (None,) * len(passages), note=note) for _ in claims]

    def _judge_passages(
        self, claims: Sequence[str], passages: Sequence[str], per_passage: bool
    ) -> list[Judgement]:
        by_passage: NDArray[np.float32] | None = None  # [claims, passages]
        if per_passage or not self.verifier.by_words:
            by_passage = self.verifier.support(claims, passages)
        if len(passages) == 1:
            support = self.verifier.support(claims, passages) if by_passage is None else by_passage
            joint = support[:, 0]
        elif self.verifier.by_words:
            text = PASSAGE_SEPARATOR.join(passages)
            joint = self.verifier.scores([(claim, text) for claim in claims])
        else:
            assert by_passage is not None
            joint = self._judge_best_pairs(claims, passages, by_passage)
        rows = by_passage.tolist() if by_passage is not None else [()] * len(claims)
        return [
            Judgement(max(float(joint_support), max(row, default=0.0)), tuple(row))
            for joint_support, row in zip(joint, rows, strict=True)
        ]

    def _judge_best_pairs(
        self, claims: Sequence[str], passages: Sequence[str], by_passage: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Judge the claims that no passage supports alone by their two best passages, joined."""
        joint: NDArray[np.float32] = by_passage.max(axis=1).copy()
        unsupported = [i for i, support in enumerate(joint) if support < self.threshold]
        pairs = []
        for i in unsupported:
            best = sorted((-by_passage[i]).argsort(kind="stable")[:2].tolist())
            pairs.append((claims[i], PASSAGE_SEPARATOR.join(passages[j] for j in best)))
        if pairs:
            joint[unsupported] = self.verifier.scores(pairs)
        return joint


class _ClaimVerdict(BaseModel):
    id: int
    verdict: Literal["supported", "partly", "unsupported"]
    passages: list[int] = Field(
        default_factory=list, description="numbers of those that support it"
    )


class _Verdicts(BaseModel):
    verdicts: list[_ClaimVerdict]


@dataclass
class LlmJudge(SupportJudge):
    """Support judge that asks a chat model, once for all claims of an answer, by a JSON schema.

    Verdicts are matched by the claims' numbers. Claims without a verdict are sent once more, and
    then fail. With `repeats` (1 to 25), the whole request is repeated: a claim's support is the
    mean, and its variance is reported as ``spread``. A claim fails unless more than half of the
    repeats judge it. `parallel` requests run at a time.
    """

    model: ChatModel
    repeats: int = 1
    prompt: str = "judge-claims"
    parallel: int = 4
    name: str = field(default="llm", init=False)
    threshold: float = 0.75
    partial: float = 0.25

    def __post_init__(self) -> None:
        if not 1 <= self.repeats <= 25:
            raise ConfigError(f"repeats must be from 1 to 25, not {self.repeats}")

    @property
    def fingerprint(self) -> str:
        """See `SupportJudge.fingerprint`."""
        from prompts import load
        from rag.settings import load_settings

        prompt = load(self.prompt, load_settings().prompts).identity
        return (
            f"{self.model.fingerprint}:{sorted(prompt.items())}:{self.repeats}:{self.threshold:g}"
        )

    @property
    def description(self) -> str:
        """See `SupportJudge.description`."""
        name = getattr(self.model, "model", "") or self.model.name
        repeats = f", asked {self.repeats} times" if self.repeats > 1 else ""
        return f"llm judge ({name}{repeats}), {self._threshold_origin}"

    def judge(
        self, claims: Sequence[str], passages: Sequence[str], *, per_passage: bool = False
    ) -> list[Judgement]:
        """See `SupportJudge.judge`.

        ``by_passage`` is the share of repeats in which the model named the passage, weighted by
        the verdict.
        """
        if not claims:
            return []
        if not passages:
            return [Judgement(0.0) for _ in claims]
        runs = map_concurrently(
            lambda n: self._judge_once(claims, passages, n), range(self.repeats), self.parallel
        )
        return [
            self._combine_runs([run[i] for run in runs], len(passages)) for i in range(len(claims))
        ]

    def _combine_runs(self, runs: Sequence[_ClaimVerdict | str], passage_count: int) -> Judgement:
        """Combine the repeats of one claim: verdicts, or reasons why there is none."""
        verdicts = [run for run in runs if isinstance(run, _ClaimVerdict)]
        if len(verdicts) * 2 <= len(runs):
            note = next((run for run in runs if isinstance(run, str)), "")
            return Judgement(None, (None,) * passage_count, note=note)
        supports = [_SUPPORT_BY_VERDICT[verdict.verdict] for verdict in verdicts]
        count = len(supports)
        mean = sum(supports) / count
        spread = 0.0
        if count > 1:
            spread = sum((support - mean) ** 2 for support in supports) / (count - 1)
        by_passage = [
            sum(s for v, s in zip(verdicts, supports, strict=True) if n in v.passages) / count
            for n in range(1, passage_count + 1)
        ]
        return Judgement(mean, tuple(by_passage), spread)

    def _judge_once(
        self, claims: Sequence[str], passages: Sequence[str], repeat: int
    ) -> list[_ClaimVerdict | str]:
        """Return for each claim its verdict, or the reason why there is none."""
        verdicts: dict[int, _ClaimVerdict] = {}
        reason = "the judge gave no verdict"
        for attempt in range(2):
            missing = [i for i in range(len(claims)) if i not in verdicts]
            if not missing:
                break
            request = render_messages(
                self.prompt,
                claims=[
                    {"id": i + 1, "text": escape_prompt_markup(" ".join(claims[i].split()))}
                    for i in missing
                ],
                passages=[escape_prompt_markup(passage) for passage in passages],
            )
            try:
                with mark_repeat(repeat, attempt):
                    reply = fill(self.model, request, _Verdicts, tries=1)
            except ModelError as error:
                reason = " ".join(str(error).split())[:200]
                continue
            for verdict in reply.verdicts:
                if verdict.id - 1 in missing:
                    verdicts.setdefault(verdict.id - 1, verdict)
        return [verdicts.get(i, reason) for i in range(len(claims))]


def make_judge(
    name: str | Verifier | ChatModel | SupportJudge | None = None,
    *,
    model: ChatModel | None = None,
    nli: str | None = None,
    repeats: int = 1,
    threshold: float | None = None,
) -> SupportJudge:
    """Make the support judge called `name`, or the best one that is configured.

    `name` is ``lexical``, ``nli`` or ``llm``, or a verifier, chat model or support judge. Without
    a name: ``llm`` if a chat `model` is given; else ``nli`` if `nli` (a folder, or a model name on
    the Hugging Face Hub) is given and the ``onnx`` or ``local`` extra is installed; else
    ``lexical``, which is always available. Raises `ConfigError` for an unknown name, or for ``llm``
    without a model. A missing extra raises `MissingExtra` at the first judgement.
    """
    if isinstance(name, SupportJudge):
        return name
    if isinstance(name, ChatModel):
        model, name = name, "llm"
    if isinstance(name, Verifier):
        return VerifierJudge(name, threshold=threshold)
    if name is None:
        name = "llm" if model is not None else "nli" if nli and _list_nli_extras() else "lexical"
    if name == "lexical":
        return VerifierJudge(LexicalVerifier(), threshold=threshold)
    if name == "llm":
        if model is None:
            raise ConfigError("the support judge 'llm' needs a chat model: pass --judge")
        judge = LlmJudge(model, repeats=repeats)
        if threshold is not None:
            judge.threshold = threshold
        return judge
    if name == "nli":
        return VerifierJudge(_make_nli_verifier(nli), threshold=threshold)
    raise ConfigError(f"unknown support judge {name!r}: use one of {', '.join(JUDGES)}")


def _list_nli_extras() -> list[str]:
    """Return the installed extras that can run an NLI model."""
    from importlib.util import find_spec

    packages = {"onnx": "onnxruntime", "local": "sentence_transformers"}
    return [extra for extra, package in packages.items() if find_spec(package) is not None]


def _make_nli_verifier(model: str | None) -> Verifier:
    """Prefer onnxruntime, which needs no torch, unless it is missing or the model is not ONNX."""
    from pathlib import Path

    from rag.verification import NliVerifier, OnnxNliVerifier

    arguments = {"model": model} if model else {}
    extras = _list_nli_extras()
    is_torch_model = (
        model is not None and Path(model).is_dir() and not list(Path(model).rglob("*.onnx"))
    )
    if "local" in extras and ("onnx" not in extras or is_torch_model):
        return NliVerifier(**arguments)
    return OnnxNliVerifier(**arguments)


def _locate_evidence(
    claim: str, passages: Sequence[str], judgement: Judgement
) -> tuple[int, int, int] | None:
    """Return the best passage's position and the span in it that has most of the claim's words."""
    supports = [support or 0.0 for support in judgement.by_passage]
    positions = list(range(len(passages)))
    if any(supports):
        positions = [i for i, support in enumerate(supports) if support >= max(supports)]
    candidates = [passages[i] for i in positions]
    # the same text that the verifier judged, whose sentences it has in its cache
    span = _find_best_span(claim, PASSAGE_SEPARATOR.join(candidates))
    if span is None:
        return None
    start, end = span
    offset = 0
    for position, passage in zip(positions, candidates, strict=True):
        if start < offset + len(passage):
            return position, start - offset, min(end - offset, len(passage))
        offset += len(passage) + len(PASSAGE_SEPARATOR)
    return None


def _find_best_span(claim: str, text: str) -> tuple[int, int] | None:
    """Return the span of up to three sentences that has the largest weighted share of `claim`."""
    spans = sentence_spans(text)
    weights, words_by_sentence = shared_words(claim, [text[s.start : s.end] for s in spans])
    best: tuple[float, int, int] | None = None
    for i, first in enumerate(spans):
        if not words_by_sentence[i]:
            continue  # evidence starts with a sentence that shares words with the claim
        words: set[str] = set()
        candidates = words_by_sentence[i : i + _MAX_EVIDENCE_SENTENCES]
        for count, sentence_words in enumerate(candidates, start=1):
            words |= sentence_words
            share = sum(map(weights.__getitem__, words)) - _PENALTY_PER_SENTENCE * count
            if best is None or share > best[0] + 1e-9:
                end = spans[i + count - 1].end
                if count > 1 and PASSAGE_SEPARATOR in text[first.start : end]:
                    break  # evidence stays within one passage
                best = (share, first.start, end)
    return best[1:] if best else None


_WORD = re.compile(r"\w")


def has_words(text: str) -> bool:
    """Return whether a text contains a word, so that it can be judged."""
    return bool(_WORD.search(text))

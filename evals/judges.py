"""Who says whether passages support a claim: words, an NLI model, or a chat model as a judge."""

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
from rag.llm.cache import repeated
from rag.llm.prompting import escape_prompt_markup, messages
from rag.llm.structured import fill
from rag.text.sentences import sentence_spans
from rag.verification import LexicalVerifier, Verifier, shared_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JOINT = "\n\n"  # between passages that support a claim together
JUDGES = ("lexical", "nli", "llm")
_LONGEST_EVIDENCE = 3  # sentences
_PER_SENTENCE = 0.02  # a longer stretch must hold so much more of the claim
_WORTH = {"supported": 1.0, "partly": 0.5, "unsupported": 0.0}


@dataclass(frozen=True, slots=True)
class Judgement:
    """How well passages support a claim: together, each by itself, and how sure a judge was.

    ``support`` is None where the claim could not be judged; then ``note`` says why. ``alone`` has
    one for each passage.
    """

    support: float | None
    alone: tuple[float | None, ...] = ()
    spread: float = 0.0
    note: str = ""


class SupportJudge(ABC):
    """Judges claims by passages. Thresholds and a name for reports come with it."""

    name: str
    threshold: float
    partial: float
    calibrated_on: str = ""
    """What people's judgements the threshold comes from; "" where from none."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when, and only when, verdicts may."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What a report says of it."""

    @property
    def _origin(self) -> str:
        on = self.calibrated_on
        said = f"calibrated on {on}" if on else "not calibrated on judgements of people"
        return f"threshold {self.threshold:g}, {said}"

    @abstractmethod
    def judge(
        self, claims: Sequence[str], passages: Sequence[str], *, apart: bool = False
    ) -> list[Judgement]:
        """Judge every claim by the passages together; with `apart`, by each one as well."""

    def verdict(self, support: float | None) -> Verdict:
        """What a support amounts to, by the thresholds."""
        if support is None:
            return "failed"
        if support >= self.threshold:
            return "supported"
        return "partly" if support >= self.partial else "unsupported"

    def unit(
        self, claim: str, passages: Sequence[str], judged: Judgement, start: int = -1, end: int = -1
    ) -> Unit:
        """The line of the ledger for a claim that was judged."""
        verdict = self.verdict(judged.support)
        place = _nearest(claim, passages, judged) if verdict in ("supported", "partly") else None
        return Unit(
            claim=claim,
            start=start,
            end=end,
            passage=place[0] if place else None,
            support=judged.support,
            evidence=(place[1], place[2]) if place else None,
            verdict=verdict,
            verifier=self.name,
            spread=judged.spread,
            note=judged.note,
        )


class VerifierJudge(SupportJudge):
    """A verifier of `rag.verification`.

    Passages together are one text to a verifier that goes by words. Any other is shown each by
    itself and, where none is enough, the two best as one.
    """

    def __init__(self, verifier: Verifier, *, threshold: float | None = None) -> None:
        self.verifier = verifier
        self.name = verifier.name
        self.threshold = verifier.threshold if threshold is None else threshold
        self.calibrated_on = verifier.calibrated_on
        self.partial = min(verifier.partial, self.threshold)

    @property
    def fingerprint(self) -> str:
        """See `Backend.fingerprint`."""
        return f"{self.verifier.fingerprint}:{self.threshold:g}"

    @property
    def description(self) -> str:
        """See `Backend.description`."""
        model = getattr(self.verifier, "model", "")
        of = f" ({model})" if isinstance(model, str) and model else ""
        return f"{self.name}{of}, {self._origin}"

    def judge(
        self, claims: Sequence[str], passages: Sequence[str], *, apart: bool = False
    ) -> list[Judgement]:
        """See `Backend.judge`. A model that fails, fails for every claim."""
        if not claims:
            return []
        if not passages:
            return [Judgement(0.0) for _ in claims]
        try:
            return self._judged(claims, passages, apart)
        except ModelError as error:
            note = " ".join(str(error).split())[:200]
            return [Judgement(None, (None,) * len(passages), note=note) for _ in claims]

    def _judged(
        self, claims: Sequence[str], passages: Sequence[str], apart: bool
    ) -> list[Judgement]:
        alone: NDArray[np.float32] | None = None
        if apart or not self.verifier.by_words:
            alone = self.verifier.support(claims, passages)
        if len(passages) == 1:
            joint = (
                alone[:, 0] if alone is not None else self.verifier.support(claims, passages)[:, 0]
            )
        elif self.verifier.by_words:
            text = JOINT.join(passages)
            joint = self.verifier.scores([(claim, text) for claim in claims])
        else:
            assert alone is not None
            joint = self._of_two(claims, passages, alone)
        rows = alone.tolist() if alone is not None else [()] * len(claims)
        return [
            Judgement(max(float(both), max(row, default=0.0)), tuple(row))
            for both, row in zip(joint, rows, strict=True)
        ]

    def _of_two(
        self, claims: Sequence[str], passages: Sequence[str], alone: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        joint: NDArray[np.float32] = alone.max(axis=1).copy()
        short = [i for i, support in enumerate(joint) if support < self.threshold]
        pairs = []
        for i in short:
            best = sorted((-alone[i]).argsort(kind="stable")[:2].tolist())
            pairs.append((claims[i], JOINT.join(passages[j] for j in best)))
        if pairs:
            joint[short] = self.verifier.scores(pairs)
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
class JudgeBackend(SupportJudge):
    """A chat model as a judge, asked for all claims of an answer at once, in a JSON schema.

    Verdicts are matched by the claims' numbers; the missing are asked for again, once, and then
    fail. With `repeats`, the whole is asked so many times; a claim's support is the mean, and its
    variance is told apart. A claim that was not judged in more than half of the repeats fails.
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
            raise ConfigError(f"a judge is asked 1 to 25 times, not {self.repeats}")

    @property
    def fingerprint(self) -> str:
        """See `Backend.fingerprint`."""
        from prompts import load
        from rag.settings import load_settings

        prompt = load(self.prompt, load_settings().prompts).identity
        return (
            f"{self.model.fingerprint}:{sorted(prompt.items())}:{self.repeats}:{self.threshold:g}"
        )

    @property
    def description(self) -> str:
        """See `Backend.description`."""
        name = getattr(self.model, "model", "") or self.model.name
        times = f", asked {self.repeats} times" if self.repeats > 1 else ""
        return f"llm judge ({name}{times}), {self._origin}"

    def judge(
        self, claims: Sequence[str], passages: Sequence[str], *, apart: bool = False
    ) -> list[Judgement]:
        """See `Backend.judge`. Says for each passage whether the model named it."""
        if not claims:
            return []
        if not passages:
            return [Judgement(0.0) for _ in claims]
        runs = map_concurrently(
            lambda n: self._once(claims, passages, n), range(self.repeats), self.parallel
        )
        return [self._combined([run[i] for run in runs], len(passages)) for i in range(len(claims))]

    def _combined(self, runs: Sequence[_ClaimVerdict | str], passages: int) -> Judgement:
        told = [run for run in runs if isinstance(run, _ClaimVerdict)]
        if len(told) * 2 <= len(runs):
            note = next((run for run in runs if isinstance(run, str)), "")
            return Judgement(None, (None,) * passages, note=note)
        worth = [_WORTH[run.verdict] for run in told]
        mean = sum(worth) / len(worth)
        spread = sum((each - mean) ** 2 for each in worth) / (len(worth) - 1) if told[1:] else 0.0
        alone = [
            sum(w for run, w in zip(told, worth, strict=True) if n in run.passages) / len(told)
            for n in range(1, passages + 1)
        ]
        return Judgement(mean, tuple(alone), spread)

    def _once(
        self, claims: Sequence[str], passages: Sequence[str], repeat: int
    ) -> list[_ClaimVerdict | str]:
        """A verdict for each claim, or why there is none."""
        found: dict[int, _ClaimVerdict] = {}
        why = "the judge gave no verdict"
        for attempt in range(2):
            missing = [i for i in range(len(claims)) if i not in found]
            if not missing:
                break
            asked = messages(
                self.prompt,
                claims=[
                    {"id": i + 1, "text": escape_prompt_markup(" ".join(claims[i].split()))}
                    for i in missing
                ],
                passages=[escape_prompt_markup(passage) for passage in passages],
            )
            try:
                with repeated(repeat, attempt):
                    reply = fill(self.model, asked, _Verdicts, tries=1)
            except ModelError as error:
                why = " ".join(str(error).split())[:200]
                continue
            for verdict in reply.verdicts:
                if verdict.id - 1 in missing:
                    found.setdefault(verdict.id - 1, verdict)
        return [found.get(i, why) for i in range(len(claims))]


def backend(
    name: str | Verifier | ChatModel | SupportJudge | None = None,
    *,
    model: ChatModel | None = None,
    nli: str | None = None,
    repeats: int = 1,
    threshold: float | None = None,
) -> SupportJudge:
    """The backend that is asked for; without a name, the best that is configured.

    `llm` where a judge `model` is given, else `nli` where an NLI model is (``nli``: a folder or a
    name on the hub) and the ``onnx`` or ``local`` extra is installed, else `lexical`, which is
    always there. Raises `ConfigError`, or `MissingExtra` when it is first asked.
    """
    if isinstance(name, SupportJudge):
        return name
    if isinstance(name, ChatModel):
        model, name = name, "llm"
    if isinstance(name, Verifier):
        return VerifierJudge(name, threshold=threshold)
    if name is None:
        name = "llm" if model is not None else "nli" if nli and _nli_extras() else "lexical"
    if name == "lexical":
        return VerifierJudge(LexicalVerifier(), threshold=threshold)
    if name == "llm":
        if model is None:
            raise ConfigError("the backend 'llm' needs a judge: a chat model (--judge)")
        made = JudgeBackend(model, repeats=repeats)
        if threshold is not None:
            made.threshold = threshold
        return made
    if name == "nli":
        return VerifierJudge(_nli_verifier(nli), threshold=threshold)
    raise ConfigError(f"no such backend: {name}; there are {', '.join(JUDGES)}")


def _nli_extras() -> list[str]:
    from importlib.util import find_spec

    wanted = {"onnx": "onnxruntime", "local": "sentence_transformers"}
    return [extra for extra, package in wanted.items() if find_spec(package) is not None]


def _nli_verifier(model: str | None) -> Verifier:
    """On onnxruntime, which needs no torch, where the model is in ONNX or nothing else is there."""
    from pathlib import Path

    from rag.verification import NliVerifier, OnnxNliVerifier

    named = {"model": model} if model else {}
    extras = _nli_extras()
    in_torch = model is not None and Path(model).is_dir() and not list(Path(model).rglob("*.onnx"))
    if "local" in extras and ("onnx" not in extras or in_torch):
        return NliVerifier(**named)
    return OnnxNliVerifier(**named)


def _nearest(claim: str, passages: Sequence[str], judged: Judgement) -> tuple[int, int, int] | None:
    """The passage that supports a claim best, and the stretch of it with most of its words."""
    alone = judged.alone
    if alone and any(alone):
        top = max(each or 0.0 for each in alone)
        places = [i for i, each in enumerate(alone) if (each or 0.0) >= top]
    else:
        places = list(range(len(passages)))
    chosen = [passages[i] for i in places]
    text = JOINT.join(chosen)  # which the verifier has taken apart already
    spans = sentence_spans(text)
    weights, held = shared_words(claim, [text[s.start : s.end] for s in spans])
    best: tuple[float, int, int] | None = None
    for i in range(len(spans)):
        if not held[i]:
            continue  # a stretch begins with what it is for
        words: set[str] = set()
        for n, more in enumerate(held[i : i + _LONGEST_EVIDENCE], start=1):
            words |= more
            share = sum(map(weights.__getitem__, words)) - _PER_SENTENCE * n
            if best is None or share > best[0] + 1e-9:
                if n > 1 and JOINT in text[spans[i].start : spans[i + n - 1].end]:
                    break  # it would go from one passage into the next
                best = (share, spans[i].start, spans[i + n - 1].end)
    if best is None:
        return None
    start, end = best[1:]
    offset = 0
    for place, passage in zip(places, chosen, strict=True):
        if start < offset + len(passage):
            return place, start - offset, min(end - offset, len(passage))
        offset += len(passage) + len(JOINT)
    return None


_WORD = re.compile(r"\w")


def has_words(text: str) -> bool:
    """Whether there is anything in a text that could be judged."""
    return bool(_WORD.search(text))

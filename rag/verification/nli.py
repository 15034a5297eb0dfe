"""Natural language inference: a cross-encoder that reads passage and claim together."""

from __future__ import annotations

import json
import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag.component import NotFingerprinted
from rag.errors import MissingExtra, ModelError
from rag.text.sentences import sentences
from rag.verification.base import Verifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

_PREMISE = "The dog is asleep in the kitchen."
_FOLLOWS = "The dog is asleep."
_CONTRADICTS = "The dog is not asleep."
_OVERLAP = 4  # windows of a long passage share a fourth of their length


class _Pairs(Verifier):
    """What both kinds have in common: windows, and which of the model's labels means support."""

    batch: Annotated[int, NotFingerprinted] = Field(16, ge=1, le=1_024)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """See `Verifier.scores`: the probability of entailment.

        A passage longer than the model reads is read in windows, of which the best counts. A
        claim is never cut: a long one is taken apart into its sentences, of which the worst counts,
        and a single sentence beyond half of what the model reads is supported by nothing.
        """
        import numpy as np

        loaded = self._loaded
        asked: list[tuple[str, str]] = []  # premise, hypothesis
        plan: list[list[list[int]]] = []  # for each pair and sentence, its windows among `asked`
        for claim, passage in pairs:
            parts = []
            for part in loaded.claims(claim):
                windows = list(loaded.windows(passage, part))
                parts.append(list(range(len(asked), len(asked) + len(windows))))
                asked += [(window, part) for window in windows]
            plan.append(parts)
        given = loaded.entailment(asked, self.batch)
        return np.array(
            [
                min((float(given[part].max()) if part else 0.0 for part in parts), default=0.0)
                for parts in plan
            ],
            dtype=np.float32,
        )

    @property
    @abstractmethod
    def _loaded(self) -> _Loaded: ...


class NliVerifier(_Pairs):
    """A cross-encoder of sentence-transformers, by its name on the hub or its folder.

    The support is the probability of entailment. Which label that is, is read from the model's
    configuration and tried on a known pair; models with one value give its sigmoid. ``device`` is
    torch's; None chooses. The threshold is a half until it is calibrated.

    Source: https://sbert.net.
    """

    name: ClassVar[str] = "nli"
    extra: ClassVar[str] = "local"

    model: str = Field("cross-encoder/nli-deberta-v3-base", min_length=1)
    device: Annotated[str | None, NotFingerprinted] = None

    @property
    def _loaded(self) -> _Loaded:
        return _load(self.model, self.device)


class OnnxNliVerifier(_Pairs):
    """The same on onnxruntime, without torch: a folder, or a model of the hub in ONNX.

    A folder holds ``tokenizer.json``, ``config.json`` and ``model.onnx`` (or ``onnx/model.onnx``).
    """

    name: ClassVar[str] = "onnx-nli"
    extra: ClassVar[str] = "onnx"

    model: str = Field("Xenova/nli-deberta-v3-small", min_length=1)
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=256)

    @property
    def _loaded(self) -> _Loaded:
        return _load_onnx(self.model, self.threads)


class _Loaded(NamedTuple):
    name: str
    tokenizer: Any
    limit: int  # tokens of a pair, without the special ones
    entails: int  # the label, or -1 for a model with one value
    logits: Callable[[Sequence[tuple[str, str]], int], Any]

    def claims(self, claim: str) -> list[str]:
        """The claim whole, or its sentences where it is long."""
        if not claim.strip() or self.length(claim) <= self.limit // 2:
            return [claim] if claim.strip() else []
        return [claim[start:end] for start, end in sentences(claim)]

    def windows(self, passage: str, claim: str) -> Iterator[str]:
        """The passage in stretches that fit beside the claim; none where the claim is too long."""
        taken = self.length(claim)
        if taken > self.limit // 2:
            _log.warning("a claim of %d tokens is too long for %s to judge", taken, self.name)
            return
        room = self.limit - taken
        offsets = self.tokenizer.encode(passage, add_special_tokens=False).offsets
        if len(offsets) <= room:
            yield passage
            return
        for i in range(0, len(offsets), room - room // _OVERLAP):
            part = offsets[i : i + room]
            yield passage[part[0][0] : part[-1][1]]
            if i + room >= len(offsets):
                return

    def length(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def entailment(self, pairs: Sequence[tuple[str, str]], batch: int) -> NDArray[np.float32]:
        """Probability that each premise entails its hypothesis."""
        import numpy as np

        if not pairs:
            return np.zeros(0, dtype=np.float32)
        given = np.asarray(self.logits(pairs, batch), dtype=np.float64)
        given = given.reshape(len(pairs), -1)
        if not np.isfinite(given).all():
            raise ModelError(f"{self.name} gave a value that is no number")
        if self.entails < 0:
            return (1 / (1 + np.exp(-given[:, 0]))).astype(np.float32)
        powers = np.exp(given - given.max(axis=1, keepdims=True))
        share: NDArray[np.float32] = powers[:, self.entails] / powers.sum(axis=1)
        return share.astype(np.float32)

    def checked(self) -> _Loaded:
        """Itself, if it tells a known pair right; raises `ModelError`."""
        follows, contradicts = self.entailment(
            [(_PREMISE, _FOLLOWS), (_PREMISE, _CONTRADICTS)], batch=2
        )
        if follows <= max(0.5, contradicts):
            raise ModelError(
                f"{self.name} is not usable: of {_PREMISE!r} it says {_FOLLOWS!r} follows with "
                f"{follows:.2f} and {_CONTRADICTS!r} with {contradicts:.2f}; are the labels in "
                "its config.json in the order it was trained with?"
            )
        return self


def _entails(name: str, labels: Mapping[Any, Any]) -> int:
    """The label that means support, by the names in a model's configuration."""
    if len(labels) < 2:
        return -1
    for number, label in labels.items():
        if str(label).lower().replace("-", "_") in (
            "entailment",
            "entails",
            "entailed",
            "supported",
        ):
            return int(number)
    said = ", ".join(map(str, labels.values()))
    raise ModelError(f"{name} does not say which of its labels is entailment: {said}")


@lru_cache(maxsize=4)
def _load(name: str, device: str | None) -> _Loaded:
    try:
        from sentence_transformers import CrossEncoder
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtra.of("local", f"the verifier {name}") from None
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = CrossEncoder(name, device=device)
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(f"the tokenizer of {name} is not a fast one")
        tokenizer = _untruncated(Tokenizer.from_str(backend.to_str()))
        # it was max_length before sentence-transformers 6
        limit = int(
            getattr(model, "max_seq_length", None) or getattr(model, "max_length", 0) or 512
        )
    except ModelError:
        raise
    except Exception as error:  # whatever torch, transformers and the hub's client raise
        raise ModelError.unloadable(name, error) from None
    guard = threading.Lock()

    def logits(pairs: Sequence[tuple[str, str]], batch: int) -> Any:
        with guard:
            return model.predict(
                list(pairs),
                batch_size=batch,
                show_progress_bar=False,
                activation_fn=torch.nn.Identity(),
            )

    room = int(limit or 512) - tokenizer.num_special_tokens_to_add(True)
    entails = _entails(name, model.config.id2label if model.config.num_labels > 1 else {})
    return _Loaded(name, tokenizer, room, entails, logits).checked()


@lru_cache(maxsize=4)
def _load_onnx(name: str, threads: int | None) -> _Loaded:
    try:
        import onnxruntime
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtra.of("onnx", f"the verifier {name}") from None
    import numpy as np

    folder = Path(name) if Path(name).is_dir() else _from_hub(name)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = _untruncated(Tokenizer.from_file(str(folder / "tokenizer.json")))
        file = next(f for f in ("model.onnx", "onnx/model.onnx") if (folder / f).is_file())
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            str(folder / file), options, providers=["CPUExecutionProvider"]
        )
        limit = int(config.get("max_position_embeddings") or 512)
        if "roberta" in str(config.get("model_type")):
            limit -= 2  # its positions begin behind the padding's
    except StopIteration:
        raise ModelError(f"the folder {name} has no model.onnx") from None
    except Exception as error:  # whatever onnxruntime and tokenizers raise
        raise ModelError.unloadable(name, error) from None
    inputs = {each.name for each in session.get_inputs()}
    padding = int(config.get("pad_token_id") or 0)

    def logits(pairs: Sequence[tuple[str, str]], batch: int) -> Any:
        out = []
        for i in range(0, len(pairs), batch):
            found = tokenizer.encode_batch([tuple(pair) for pair in pairs[i : i + batch]])
            longest = max(len(each) for each in found)
            fields = {
                "input_ids": [e.ids + [padding] * (longest - len(e)) for e in found],
                "attention_mask": [[1] * len(e) + [0] * (longest - len(e)) for e in found],
                "token_type_ids": [e.type_ids + [0] * (longest - len(e)) for e in found],
            }
            fed = {key: np.array(value, np.int64) for key, value in fields.items() if key in inputs}
            out.append(session.run(None, fed)[0])
        return np.concatenate(out)

    room = limit - tokenizer.num_special_tokens_to_add(True)
    entails = _entails(name, config.get("id2label") or {})
    return _Loaded(name, tokenizer, room, entails, logits).checked()


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name, allow_patterns=["config.json", "tokenizer.json", "onnx/model.onnx", "model.onnx"]
        )
    except Exception as error:  # whatever the hub's client raises
        raise ModelError.unloadable(name, error) from None
    return Path(found)


def _untruncated(tokenizer: Any) -> Any:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer

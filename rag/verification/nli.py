"""Verifiers by natural language inference: cross-encoders, on torch or onnxruntime."""

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
_ENTAILED_CLAIM = "The dog is asleep."
_CONTRADICTED_CLAIM = "The dog is not asleep."
_WINDOW_OVERLAP_DIVISOR = 4  # windows of a long passage overlap by 1/4 of their length


class _CrossEncoderVerifier(Verifier):
    """The common part of both verifiers: windows of long passages, and sentences of long claims."""

    batch: Annotated[int, NotFingerprinted] = Field(16, ge=1, le=1_024)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """See `Verifier.scores`; the support is the probability of entailment.

        A passage that is longer than the model's limit is read in windows, and the best one counts.
        A claim is never cut: a long one is split into sentences, and the worst one counts. A single
        sentence longer than half of the limit has no support.
        """
        import numpy as np

        model = self._nli_model
        model_pairs: list[tuple[str, str]] = []  # premise, hypothesis
        # For each pair and each part of its claim: the indices of its windows in `model_pairs`.
        window_indices: list[list[list[int]]] = []
        for claim, passage in pairs:
            indices_by_part = []
            for claim_part in model.split_claim(claim):
                windows = list(model.split_passage(passage, claim_part)) if passage.strip() else []
                indices_by_part.append(
                    list(range(len(model_pairs), len(model_pairs) + len(windows)))
                )
                model_pairs += [(window, claim_part) for window in windows]
            window_indices.append(indices_by_part)
        entailments = model.predict_entailment(model_pairs, self.batch)
        return np.array(
            [
                min(
                    (
                        float(entailments[indices].max()) if indices else 0.0
                        for indices in indices_by_part
                    ),
                    default=0.0,
                )
                for indices_by_part in window_indices
            ],
            dtype=np.float32,
        )

    @property
    @abstractmethod
    def _nli_model(self) -> _NliModel: ...


class NliVerifier(_CrossEncoderVerifier):
    """A cross-encoder of sentence-transformers, by its name on the hub or its folder.

    The support is the probability of entailment. The label of entailment is read from the model's
    configuration and checked on a known pair; for models with one output, the support is its
    sigmoid. ``device`` is torch's; None selects one automatically. The threshold is 0.5 until it is
    calibrated.

    Source: https://sbert.net.
    """

    name: ClassVar[str] = "nli"
    main_setting: ClassVar[str] = "model"
    extra: ClassVar[str] = "local"

    model: str = Field("cross-encoder/nli-deberta-v3-base", min_length=1)
    device: Annotated[str | None, NotFingerprinted] = None

    @property
    def _nli_model(self) -> _NliModel:
        return _load_torch_model(self.model, self.device)


class OnnxNliVerifier(_CrossEncoderVerifier):
    """A cross-encoder on onnxruntime, without torch: a folder, or a model of the hub in ONNX.

    A folder holds ``tokenizer.json``, ``config.json`` and ``model.onnx`` (or ``onnx/model.onnx``).
    """

    name: ClassVar[str] = "onnx-nli"
    main_setting: ClassVar[str] = "model"
    extra: ClassVar[str] = "onnx"

    model: str = Field("Xenova/nli-deberta-v3-small", min_length=1)
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=256)

    @property
    def _nli_model(self) -> _NliModel:
        return _load_onnx_model(self.model, self.threads)


class _NliModel(NamedTuple):
    """A loaded cross-encoder with its tokenizer."""

    name: str
    tokenizer: Any
    max_tokens: int  # of a pair, without special tokens
    entailment_label: int  # -1 for a model with one output
    compute_logits: Callable[[Sequence[tuple[str, str]], int], Any]

    def split_claim(self, claim: str) -> list[str]:
        """Return the claim, or its sentences if it is long."""
        if not claim.strip() or self.count_tokens(claim) <= self.max_tokens // 2:
            return [claim] if claim.strip() else []
        return [claim[start:end] for start, end in sentences(claim)]

    def split_passage(self, passage: str, claim: str) -> Iterator[str]:
        """Yield windows of the passage that fit with the claim; none if the claim is too long."""
        claim_tokens = self.count_tokens(claim)
        if claim_tokens > self.max_tokens // 2:
            _log.warning(
                "A claim of %d tokens is too long for %s and counts as unsupported",
                claim_tokens,
                self.name,
            )
            return
        window_tokens = self.max_tokens - claim_tokens
        offsets = self.tokenizer.encode(passage, add_special_tokens=False).offsets
        if len(offsets) <= window_tokens:
            yield passage
            return
        for i in range(0, len(offsets), window_tokens - window_tokens // _WINDOW_OVERLAP_DIVISOR):
            window = offsets[i : i + window_tokens]
            yield passage[window[0][0] : window[-1][1]]
            if i + window_tokens >= len(offsets):
                return

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, without special tokens."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def predict_entailment(
        self, pairs: Sequence[tuple[str, str]], batch: int
    ) -> NDArray[np.float32]:
        """Return the probability (0..1) that each premise entails its hypothesis."""
        import numpy as np

        if not pairs:
            return np.zeros(0, dtype=np.float32)
        logits = np.asarray(self.compute_logits(pairs, batch), dtype=np.float64)
        logits = logits.reshape(len(pairs), -1)
        if not np.isfinite(logits).all():
            raise ModelError(
                f"{self.name} returned a value that is not a finite number", model=self.name
            )
        if self.entailment_label < 0:
            return (1 / (1 + np.exp(-logits[:, 0]))).astype(np.float32)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float32] = exponentials[
            :, self.entailment_label
        ] / exponentials.sum(axis=1)
        return probabilities.astype(np.float32)

    def check_labels(self) -> _NliModel:
        """Return the model if its labels are right for a known pair, or raise `ModelError`."""
        entailed, contradicted = self.predict_entailment(
            [(_PREMISE, _ENTAILED_CLAIM), (_PREMISE, _CONTRADICTED_CLAIM)], batch=2
        )
        if entailed <= max(0.5, contradicted):
            raise ModelError(
                f"{self.name} is not usable: for {_PREMISE!r} it scores {_ENTAILED_CLAIM!r} with "
                f"{entailed:.2f} and {_CONTRADICTED_CLAIM!r} with {contradicted:.2f}; check that "
                "the labels in its config.json are in the order of its training",
                model=self.name,
            )
        return self


def _find_entailment_label(name: str, labels: Mapping[Any, Any]) -> int:
    """Return the number of the entailment label, by the label names of a model's configuration."""
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
    label_list = ", ".join(map(str, labels.values()))
    raise ModelError(
        f"{name} does not name the label of entailment; its labels are: {label_list}", model=name
    )


@lru_cache(maxsize=4)
def _load_torch_model(name: str, device: str | None) -> _NliModel:
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
            raise ModelError(
                f"the tokenizer of {name} is not supported: it must be a fast tokenizer", model=name
            )
        tokenizer = _disable_truncation(Tokenizer.from_str(backend.to_str()))
        # named max_length before sentence-transformers 6
        max_length = int(
            getattr(model, "max_seq_length", None) or getattr(model, "max_length", 0) or 512
        )
    except ModelError:
        raise
    except Exception as error:  # torch, transformers and the hub's client raise many types
        raise ModelError.from_load_error(name, error) from None
    prediction_lock = threading.Lock()

    def logits(pairs: Sequence[tuple[str, str]], batch: int) -> Any:
        with prediction_lock:
            return model.predict(
                list(pairs),
                batch_size=batch,
                show_progress_bar=False,
                activation_fn=torch.nn.Identity(),
            )

    max_tokens = int(max_length or 512) - tokenizer.num_special_tokens_to_add(True)
    entailment_label = _find_entailment_label(
        name, model.config.id2label if model.config.num_labels > 1 else {}
    )
    return _NliModel(name, tokenizer, max_tokens, entailment_label, logits).check_labels()


@lru_cache(maxsize=4)
def _load_onnx_model(name: str, threads: int | None) -> _NliModel:
    try:
        import onnxruntime
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtra.of("onnx", f"the verifier {name}") from None
    import numpy as np

    folder = Path(name) if Path(name).is_dir() else _download_model(name)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = _disable_truncation(Tokenizer.from_file(str(folder / "tokenizer.json")))
        file = next(f for f in ("model.onnx", "onnx/model.onnx") if (folder / f).is_file())
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            str(folder / file), options, providers=["CPUExecutionProvider"]
        )
        max_length = int(config.get("max_position_embeddings") or 512)
        if "roberta" in str(config.get("model_type")):
            max_length -= 2  # its positions begin after the padding index
    except StopIteration:
        raise ModelError(f"the folder {name} has no model.onnx", model=name) from None
    except Exception as error:  # onnxruntime and tokenizers raise many types
        raise ModelError.from_load_error(name, error) from None
    input_names = {model_input.name for model_input in session.get_inputs()}
    padding = int(config.get("pad_token_id") or 0)

    def logits(pairs: Sequence[tuple[str, str]], batch: int) -> Any:
        batch_outputs = []
        for i in range(0, len(pairs), batch):
            encodings = tokenizer.encode_batch([tuple(pair) for pair in pairs[i : i + batch]])
            max_ids = max(len(encoding) for encoding in encodings)
            fields = {
                "input_ids": [e.ids + [padding] * (max_ids - len(e)) for e in encodings],
                "attention_mask": [[1] * len(e) + [0] * (max_ids - len(e)) for e in encodings],
                "token_type_ids": [e.type_ids + [0] * (max_ids - len(e)) for e in encodings],
            }
            model_inputs = {
                key: np.array(value, np.int64)
                for key, value in fields.items()
                if key in input_names
            }
            batch_outputs.append(session.run(None, model_inputs)[0])
        return np.concatenate(batch_outputs)

    max_tokens = max_length - tokenizer.num_special_tokens_to_add(True)
    entailment_label = _find_entailment_label(name, config.get("id2label") or {})
    return _NliModel(name, tokenizer, max_tokens, entailment_label, logits).check_labels()


def _download_model(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name, allow_patterns=["config.json", "tokenizer.json", "onnx/model.onnx", "model.onnx"]
        )
    except Exception as error:  # the hub's client raises many types
        raise ModelError.from_load_error(name, error) from None
    return Path(folder)


def _disable_truncation(tokenizer: Any) -> Any:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer

"""Cross-encoders: a transformer that reads question and chunk together."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag.component import NotFingerprinted
from rag.errors import MissingExtra, ModelError
from rag.postprocessing.base import Reranker


class CrossEncoderReranker(Reranker):
    """A cross-encoder of sentence-transformers, given by its name on the hub or as a folder.

    The score is the output of the model. Its tokenizer truncates long chunks at the end, which
    affects the order only, never a quote. ``device`` is a device of torch; None chooses.

    Source: https://sbert.net.
    """

    name: ClassVar[str] = "cross-encoder"
    main_setting: ClassVar[str] = "model"
    extra: ClassVar[str] = "local"

    model: str = Field("cross-encoder/ms-marco-MiniLM-L6-v2", min_length=1)
    device: Annotated[str | None, NotFingerprinted] = None

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Reranker.score`."""
        cross_encoder = _load_torch(self.model, self.device)
        with cross_encoder.guard:
            scores = cross_encoder.model.predict(
                [(query, text) for text in texts],
                batch_size=self.batch,
                show_progress_bar=False,
            )
        return [float(value) for value in scores]


class OnnxReranker(Reranker):
    """A cross-encoder on onnxruntime, given by its name in fastembed or as a folder.

    A folder holds ``tokenizer.json``, ``config.json`` and ``model.onnx`` (or ``onnx/model.onnx``).

    Source: https://qdrant.github.io/fastembed.
    """

    name: ClassVar[str] = "onnx-cross-encoder"
    main_setting: ClassVar[str] = "model"
    extra: ClassVar[str] = "onnx"

    model: str = Field("Xenova/ms-marco-MiniLM-L-6-v2", min_length=1)
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=256)

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Reranker.score`."""
        model = _load_onnx(self.model, self.threads)
        return [float(value) for value in model.rerank(query, list(texts), batch_size=self.batch)]


class _CrossEncoderModel(NamedTuple):
    model: Any
    guard: threading.Lock


@lru_cache(maxsize=4)
def _load_torch(name: str, device: str | None) -> _CrossEncoderModel:
    try:
        from sentence_transformers import CrossEncoder
    except ModuleNotFoundError:
        raise MissingExtra.of("local", f"the reranker {name}") from None
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = CrossEncoder(name, device=device)
    except Exception as error:  # whatever torch, transformers and the hub's client raise
        raise ModelError.from_load_error(name, error) from None
    if model.config.num_labels != 1:
        raise ModelError(
            f"{name} gives {model.config.num_labels} values, and one is needed", model=name
        )
    return _CrossEncoderModel(model, threading.Lock())


@lru_cache(maxsize=4)
def _load_onnx(name: str, threads: int | None) -> Any:
    try:
        from fastembed.common.model_description import ModelSource
        from fastembed.rerank.cross_encoder import TextCrossEncoder
    except ModuleNotFoundError:
        raise MissingExtra.of("onnx", f"the reranker {name}") from None
    try:
        folder = Path(name)
        if not folder.is_dir():
            return TextCrossEncoder(name, threads=threads)
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
        file = next(f for f in ("model.onnx", "onnx/model.onnx") if (folder / f).is_file())
        registered_name = f"citewell:{folder.resolve()}"
        if registered_name not in {
            model["model"] for model in TextCrossEncoder.list_supported_models()
        }:
            source = ModelSource(url=folder.resolve().as_uri())
            TextCrossEncoder.add_custom_model(
                model=registered_name, sources=source, model_file=file
            )
        return TextCrossEncoder(registered_name, threads=threads, specific_model_path=str(folder))
    except StopIteration:
        raise ModelError(f"the folder {name} has no model.onnx", model=name) from None
    except Exception as error:  # whatever onnxruntime, tokenizers and the hub's client raise
        raise ModelError.from_load_error(name, error) from None

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
    """A cross-encoder of sentence-transformers, by its name on the hub or its folder.

    The score is the model's own. Chunks longer than the model reads are cut by its tokenizer, at
    their end: it is to order them, not to quote them. ``device`` is torch's; None chooses.

    Source: https://sbert.net.
    """

    name: ClassVar[str] = "cross-encoder"
    extra: ClassVar[str] = "local"

    model: str = Field("cross-encoder/ms-marco-MiniLM-L6-v2", min_length=1)
    device: Annotated[str | None, NotFingerprinted] = None

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Reranker.score`."""
        loaded = _load(self.model, self.device)
        with loaded.guard:
            found = loaded.model.predict(
                [(query, text) for text in texts],
                batch_size=self.batch,
                show_progress_bar=False,
            )
        return [float(value) for value in found]


class OnnxReranker(Reranker):
    """A cross-encoder on onnxruntime through fastembed: a model it knows by name, or a folder.

    A folder holds ``tokenizer.json``, ``config.json`` and ``model.onnx`` (or ``onnx/model.onnx``).

    Source: https://qdrant.github.io/fastembed.
    """

    name: ClassVar[str] = "onnx-cross-encoder"
    extra: ClassVar[str] = "onnx"

    model: str = Field("Xenova/ms-marco-MiniLM-L-6-v2", min_length=1)
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=256)

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Reranker.score`."""
        model = _load_onnx(self.model, self.threads)
        return [float(value) for value in model.rerank(query, list(texts), batch_size=self.batch)]


class _Loaded(NamedTuple):
    model: Any
    guard: threading.Lock


@lru_cache(maxsize=4)
def _load(name: str, device: str | None) -> _Loaded:
    try:
        from sentence_transformers import CrossEncoder
    except ModuleNotFoundError:
        raise MissingExtra.of("local", f"the reranker {name}") from None
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = CrossEncoder(name, device=device)
    except Exception as error:  # whatever torch, transformers and the hub's client raise
        raise ModelError.unloadable(name, error) from None
    if model.config.num_labels != 1:
        raise ModelError(f"{name} gives {model.config.num_labels} values, and one is needed")
    return _Loaded(model, threading.Lock())


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
        known = f"citewell:{folder.resolve()}"
        if known not in {model["model"] for model in TextCrossEncoder.list_supported_models()}:
            source = ModelSource(url=folder.resolve().as_uri())
            TextCrossEncoder.add_custom_model(model=known, sources=source, model_file=file)
        return TextCrossEncoder(known, threads=threads, specific_model_path=str(folder))
    except StopIteration:
        raise ModelError(f"the folder {name} has no model.onnx") from None
    except Exception as error:  # whatever onnxruntime, tokenizers and the hub's client raise
        raise ModelError.unloadable(name, error) from None

"""Models of sentence-transformers, from a hub or a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.base import KnownModel, Side, Similarity
from rag.embedding.batched import BatchedEmbedder, normalize, tokens_without_prompt
from rag.embedding.presets import PRESETS
from rag.errors import EmbeddingError, MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SentenceTransformerEmbedder(BatchedEmbedder):
    """A bi-encoder on torch, given by its name on the Hugging Face hub or as a folder.

    ``query_prompt`` and ``document_prompt`` are prepended to each text. None uses the prompts
    "query" and "document" of the model, if it has them; `rag.embedding.presets` has those of models
    that do not carry them. ``device`` is a device of torch ("cpu", "cuda", "mps"; None chooses).
    ``precision`` "auto" computes in bfloat16 on a processor with AMX, where that is several times
    as fast and hardly changes a vector, otherwise in float32. ``model_revision`` is a commit or tag
    of the hub.

    Code that a model ships is never run. Source: https://sbert.net.
    """

    name: ClassVar[str] = "sentence-transformers"
    main_setting: ClassVar[str] = "model"
    extra: ClassVar[str] = "local"

    model: str = Field("sentence-transformers/all-MiniLM-L6-v2", min_length=1)
    model_revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    device: Annotated[str | None, NotFingerprinted] = None
    precision: Annotated[Literal["auto", "float32", "bfloat16"], NotFingerprinted] = "auto"

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Return all-MiniLM-L6-v2 and the models of the presets (`rag.embedding.presets`)."""
        presets = (preset for preset in PRESETS.values() if preset.embedder == cls.name)
        return (
            KnownModel("sentence-transformers/all-MiniLM-L6-v2", 384, 254, 0.0),
            *(KnownModel(p.model, p.dimension, p.max_tokens - 2, 0.0) for p in presets),
        )

    @property
    def similarity(self) -> Similarity:
        """Similarity of the model.

        The inner product if the model names it, otherwise the cosine.
        """
        return "dot" if self._torch_model.dot else "cosine"

    @property
    def dimension(self) -> int:
        """Vector length of the model, or ``dimensions`` if that is less."""
        return min(self._torch_model.dimension, self.dimensions or self._torch_model.dimension)

    @property
    def max_tokens(self) -> int:
        """Input limit of the model, without special tokens and the longer prompt."""
        loaded = self._torch_model
        prompts = [prompt for side in _SIDES if (prompt := self._prompt(side))]
        longest = max(self.count_tokens(prompts), default=0)
        return tokens_without_prompt(self.model, loaded.max_tokens, longest)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text with the tokenizer of the model."""
        return self._torch_model.count_tokens(texts)

    @property
    def usd_per_million_tokens(self) -> float:
        """Price: 0 for a local model."""
        return 0.0

    def _prompt(self, side: Side) -> str:
        configured_prompt = self.query_prompt if side == "query" else self.document_prompt
        if configured_prompt is not None:
            return configured_prompt
        prompts = self._torch_model.prompts
        return prompts.get(side) or (prompts.get("passage") if side == "document" else "") or ""

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        loaded = self._torch_model
        with loaded.guard:
            vectors = loaded.model.encode(
                list(texts),
                prompt=self._prompt(side) or None,
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        return np.asarray(vectors, dtype=np.float32)

    def embed_tokens(self, texts: Sequence[str], side: Side) -> list[NDArray[np.float32]]:
        """Return the contextual token vectors of the model, without special tokens.

        Texts above the input limit are truncated. See `Embedder.embed_tokens`.
        """
        import numpy as np

        loaded = self._torch_model
        with loaded.guard:
            token_tensors = loaded.model.encode(
                list(texts),
                prompt=self._prompt(side) or None,
                batch_size=self.batch,
                output_value="token_embeddings",
                show_progress_bar=False,
                convert_to_numpy=False,
            )
        return [
            normalize(np.asarray(tensor.float().cpu(), dtype=np.float32)[1:-1])
            for tensor in token_tensors
        ]

    @property
    def _torch_model(self) -> _TorchModel:
        return _load_model(self.model, self.model_revision, self.device, self.precision)


_SIDES: tuple[Side, ...] = ("query", "document")


class _TorchModel(NamedTuple):
    model: Any
    tokenizer: Any
    dimension: int
    max_tokens: int
    prompts: dict[str, str]
    dot: bool
    guard: threading.Lock

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]


@lru_cache(maxsize=4)
def _load_model(name: str, revision: str | None, device: str | None, precision: str) -> _TorchModel:
    try:
        from sentence_transformers import SentenceTransformer
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtra.of("local", f"the embedder {name}") from None
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise EmbeddingError(f"cannot load {name}: there is no such folder", model=name)
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(name, revision=revision, device=device)
        if precision == "bfloat16" or (precision == "auto" and _has_fast_bfloat16(model)):
            model = model.bfloat16()
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise EmbeddingError(f"the tokenizer of {name} is not a fast one", model=name)
        tokenizer = Tokenizer.from_str(backend.to_str())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        limit = int(model.max_seq_length or 512) - tokenizer.num_special_tokens_to_add(False)
        dimension = model.get_embedding_dimension()
        if dimension is None:
            dimension = len(model.encode("x", show_progress_bar=False))
    except EmbeddingError:
        raise
    except Exception as error:  # whatever torch, transformers and the hub's client raise
        reason = " ".join(str(error).split())[:300]
        raise EmbeddingError(
            f"cannot load {name} (a folder, or a model of the hub that can be reached): {reason}",
            model=name,
        ) from None
    prompts = {key: text for key, text in (model.prompts or {}).items() if text}
    dot = str(model.similarity_fn_name) == "dot"
    return _TorchModel(model, tokenizer, int(dimension), limit, prompts, dot, threading.Lock())


def _has_fast_bfloat16(model: Any) -> bool:
    """Whether a model on this processor is faster in bfloat16: it has AMX."""
    import torch

    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return model.device.type == "cpu" and has_amx is not None and bool(has_amx())

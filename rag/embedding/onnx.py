"""Models in ONNX, without torch: fastembed's, or one in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.base import KnownModel, Side
from rag.embedding.batched import BatchedEmbedder, room
from rag.errors import EmbeddingError, MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnnxEmbedder(BatchedEmbedder):
    """A bi-encoder on onnxruntime through fastembed: a model it knows by name, or a folder.

    A folder holds ``tokenizer.json``, ``config.json`` and ``model.onnx`` (or ``onnx/model.onnx``);
    how token vectors become one is read from ``1_Pooling/config.json``, as sentence-transformers
    write it, and is their mean without that. ``query_prompt`` and ``document_prompt`` stand in
    front of each text. ``threads`` bounds what onnxruntime uses.

    Source: https://qdrant.github.io/fastembed.
    """

    name: ClassVar[str] = "onnx"
    extra: ClassVar[str] = "onnx"

    model: str = Field("BAAI/bge-small-en-v1.5", min_length=1)
    query_prompt: str = ""
    document_prompt: str = ""
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=256)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Those that fastembed knows, where it is installed."""
        try:
            from fastembed import TextEmbedding
        except ModuleNotFoundError:
            return (KnownModel("BAAI/bge-small-en-v1.5", 384, 510, 0.0),)
        models = TextEmbedding.list_supported_models()
        return tuple(
            KnownModel(model["model"], int(model["dim"]), None, 0.0)
            for model in models
            if "/" in model["model"]
        )

    @property
    def dimension(self) -> int:
        """The model's, or ``dimensions`` where that is less."""
        own = self._loaded.dimension
        return min(own, self.dimensions or own)

    @property
    def max_tokens(self) -> int:
        """What the model reads, without special tokens and the longer of the prompts."""
        prompts = [prompt for prompt in (self.query_prompt, self.document_prompt) if prompt]
        longest = max(self.count_tokens(prompts), default=0)
        return room(self.model, self._loaded.max_tokens, longest)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text in tokens of the model's tokenizer."""
        encodings = self._loaded.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    @property
    def usd_per_million_tokens(self) -> float:
        """Nothing: it runs here."""
        return 0.0

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        prompt = self.query_prompt if side == "query" else self.document_prompt
        prompted = [prompt + text for text in texts]
        found = list(self._loaded.model.embed(prompted, batch_size=len(prompted)))
        return np.asarray(found, dtype=np.float32)

    @property
    def _loaded(self) -> _Loaded:
        return _load(self.model, self.threads)


class _Loaded(NamedTuple):
    model: Any
    tokenizer: Any
    dimension: int
    max_tokens: int


@lru_cache(maxsize=4)
def _load(name: str, threads: int | None) -> _Loaded:
    try:
        from fastembed import TextEmbedding
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtra.of("onnx", f"the embedder {name}") from None
    try:
        folder = Path(name)
        if folder.is_dir():
            model = _registered(folder, threads)
        else:
            model = TextEmbedding(name, threads=threads)
        own = model.model.tokenizer
        tokenizer = Tokenizer.from_str(own.to_str())
        truncation = tokenizer.truncation
        limit = int(truncation["max_length"]) if truncation else 512
        tokenizer.no_truncation()
        tokenizer.no_padding()
        limit -= tokenizer.num_special_tokens_to_add(False)
        return _Loaded(model, tokenizer, int(model.embedding_size), limit)
    except EmbeddingError:
        raise
    except Exception as error:  # whatever onnxruntime, tokenizers and the hub's client raise
        said = " ".join(str(error).split())[:300]
        raise EmbeddingError(
            f"cannot load {name} (a folder, or a model of fastembed's that can be reached): {said}"
        ) from None


def _registered(folder: Path, threads: int | None) -> Any:
    """Make the model in `folder` one that fastembed knows, under a name of its own."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    files = [file for file in ("model.onnx", "onnx/model.onnx") if (folder / file).is_file()]
    missing = [
        name for name in ("tokenizer.json", "config.json") if not (folder / name).is_file()
    ] + ([] if files else ["model.onnx"])
    if missing:
        raise EmbeddingError(f"the folder {folder} has no {', '.join(missing)}")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    pooling = folder / "1_Pooling" / "config.json"
    said = json.loads(pooling.read_text(encoding="utf-8")) if pooling.is_file() else {}
    how = PoolingType.CLS if said.get("pooling_mode_cls_token") else PoolingType.MEAN
    name = f"citewell:{folder.resolve()}"
    if name not in {model["model"] for model in TextEmbedding.list_supported_models()}:
        TextEmbedding.add_custom_model(
            model=name,
            pooling=how,
            normalization=True,
            sources=ModelSource(url=folder.resolve().as_uri()),
            dim=int(config["hidden_size"]),
            model_file=files[0],
        )
    return TextEmbedding(name, threads=threads, specific_model_path=str(folder))

"""ONNX models without torch: models of fastembed, or from a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.base import KnownModel, Side
from rag.embedding.batched import BatchedEmbedder, tokens_without_prompt
from rag.errors import EmbeddingError, MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnnxEmbedder(BatchedEmbedder):
    """A bi-encoder on onnxruntime through fastembed, given by its name in fastembed or as a folder.

    A folder holds ``tokenizer.json``, ``config.json`` and ``model.onnx`` (or ``onnx/model.onnx``).
    ``1_Pooling/config.json`` and ``sentence_bert_config.json``, as sentence-transformers writes
    them, define the pooling and the input limit; without the first, the token vectors are averaged.
    ``query_prompt`` and ``document_prompt`` are prepended to each text. ``threads`` limits the
    threads of onnxruntime.

    Source: https://qdrant.github.io/fastembed.
    """

    name: ClassVar[str] = "onnx"
    main_setting: ClassVar[str] = "model"
    extra: ClassVar[str] = "onnx"

    model: str = Field("BAAI/bge-small-en-v1.5", min_length=1)
    query_prompt: str = ""
    document_prompt: str = ""
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=256)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Return the models of fastembed, if it is installed."""
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
        """Vector length of the model, or ``dimensions`` if that is less."""
        model_dimension = self._onnx_model.dimension
        return min(model_dimension, self.dimensions or model_dimension)

    @property
    def max_tokens(self) -> int:
        """Input limit of the model, without special tokens and the longer prompt."""
        prompts = [prompt for prompt in (self.query_prompt, self.document_prompt) if prompt]
        longest = max(self.count_tokens(prompts), default=0)
        return tokens_without_prompt(self.model, self._onnx_model.max_tokens, longest)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text with the tokenizer of the model."""
        encodings = self._onnx_model.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    @property
    def usd_per_million_tokens(self) -> float:
        """Price: 0 for a local model."""
        return 0.0

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        prompt = self.query_prompt if side == "query" else self.document_prompt
        prompted = [prompt + text for text in texts]
        vectors = list(self._onnx_model.model.embed(prompted, batch_size=len(prompted)))
        return np.asarray(vectors, dtype=np.float32)

    @property
    def _onnx_model(self) -> _OnnxModel:
        return _load_model(self.model, self.threads)


class _OnnxModel(NamedTuple):
    model: Any
    tokenizer: Any
    dimension: int
    max_tokens: int


@lru_cache(maxsize=4)
def _load_model(name: str, threads: int | None) -> _OnnxModel:
    try:
        from fastembed import TextEmbedding
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtra.of("onnx", f"the embedder {name}") from None
    try:
        folder = Path(name)
        if folder.is_dir():
            model = _register_folder(folder, threads)
        else:
            model = TextEmbedding(name, threads=threads)
        model_tokenizer = model.model.tokenizer
        tokenizer = Tokenizer.from_str(model_tokenizer.to_str())
        truncation = tokenizer.truncation
        limit = int(truncation["max_length"]) if truncation else 512
        limit = min(limit, _read_trained_length(folder) or limit)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        limit -= tokenizer.num_special_tokens_to_add(False)
        return _OnnxModel(model, tokenizer, int(model.embedding_size), limit)
    except EmbeddingError:
        raise
    except Exception as error:  # whatever onnxruntime, tokenizers and the hub's client raise
        reason = " ".join(str(error).split())[:300]
        raise EmbeddingError(
            f"cannot load {name} (a folder or a model of fastembed that can be reached): {reason}",
            model=name,
        ) from None


def _read_trained_length(folder: Path) -> int | None:
    """Return the tokens up to which a model was trained, if its folder says so."""
    file = folder / "sentence_bert_config.json"
    if not file.is_file():
        return None
    length = json.loads(file.read_text(encoding="utf-8")).get("max_seq_length")
    return int(length) if length else None


def _register_folder(folder: Path, threads: int | None) -> Any:
    """Register the model in `folder` with fastembed under a unique name."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    files = [file for file in ("model.onnx", "onnx/model.onnx") if (folder / file).is_file()]
    missing = [
        name for name in ("tokenizer.json", "config.json") if not (folder / name).is_file()
    ] + ([] if files else ["model.onnx"])
    if missing:
        raise EmbeddingError(f"the folder {folder} has no {', '.join(missing)}", model=str(folder))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    pooling = folder / "1_Pooling" / "config.json"
    pooling_config = json.loads(pooling.read_text(encoding="utf-8")) if pooling.is_file() else {}
    pooling_type = (
        PoolingType.CLS if pooling_config.get("pooling_mode_cls_token") else PoolingType.MEAN
    )
    name = f"citewell:{folder.resolve()}"
    if name not in {model["model"] for model in TextEmbedding.list_supported_models()}:
        TextEmbedding.add_custom_model(
            model=name,
            pooling=pooling_type,
            normalization=True,
            sources=ModelSource(url=folder.resolve().as_uri()),
            dim=int(config["hidden_size"]),
            model_file=files[0],
        )
    return TextEmbedding(name, threads=threads, specific_model_path=str(folder))

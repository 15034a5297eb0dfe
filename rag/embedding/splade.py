"""Sparse encoders: SPLADE models, and models that need no inference for a query."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding.sparse import SparseEncoder, SparseVector
from rag.embedding.word_vectors import add_file_to_fingerprint
from rag.errors import EmbeddingError, MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODEL_FILES = ("model.onnx", "onnx/model.onnx")
_MODEL_FILE_PATTERNS = ("*.json", "*.onnx*", "*.safetensors", "*.bin", "*.txt")
_FileStates = tuple[tuple[str, int, int], ...]
_POOLING_FILES = ("1_SpladePooling/config.json", "document_1_SpladePooling/config.json")


class SentenceTransformerSparseEncoder(SparseEncoder):
    """A sparse encoder of sentence-transformers, given by its name on the hub or as a folder.

    For example ``naver/splade-v3``, or
    ``opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill``, which needs no
    inference for a query. ``device`` is a device of torch ("cpu", "cuda", "mps"; None chooses).
    ``model_revision`` is a commit or tag of the hub. Texts above the input limit of the model are
    truncated. Code that a model ships is never run.

    Source: https://sbert.net/docs/sparse_encoder/pretrained_models.html
    """

    name: ClassVar[str] = "sentence-transformers"
    main_setting: ClassVar[str] = "model"

    model: str = Field(min_length=1)
    model_revision: str | None = None
    device: Annotated[str | None, NotFingerprinted] = None
    batch: Annotated[int, NotFingerprinted] = Field(16, ge=1, le=10_000)

    @property
    def fingerprint(self) -> str:
        """Fingerprint that includes the files of a model in a folder."""
        return _fingerprint_folder(super().fingerprint, Path(self.model))

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """See `SparseEncoder.encode_documents`."""
        return self._encode(texts, is_query=False)

    def encode_query(self, text: str) -> SparseVector:
        """See `SparseEncoder.encode_query`."""
        (vector,) = self._encode([text], is_query=True)
        return vector

    def _encode(self, texts: Sequence[str], *, is_query: bool) -> list[SparseVector]:
        vectors: list[SparseVector] = [{} for _ in texts]
        numbers = [i for i, text in enumerate(texts) if text.strip()]
        if not numbers:
            return vectors
        loaded = _load_model(
            self.model, self.model_revision, self.device, _list_file_states(Path(self.model))
        )
        for start in range(0, len(numbers), self.batch):  # a batch is one dense matrix
            batch = numbers[start : start + self.batch]
            encoded = loaded.encode([texts[i] for i in batch], is_query=is_query)
            for i, vector in zip(batch, encoded, strict=True):
                vectors[i] = vector
        return vectors


class _TorchModel(NamedTuple):
    name: str
    model: Any
    guard: threading.Lock

    def encode(self, texts: Sequence[str], *, is_query: bool) -> list[SparseVector]:
        """Return the weights of texts, in one batch."""
        encode = self.model.encode_query if is_query else self.model.encode_document
        with _translate_inference_errors(self.name), self.guard:
            matrix = encode(
                texts,
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_sparse_tensor=False,
                save_to_cpu=True,
            )
            decoded = [self.model.decode(row) for row in matrix]
        return [{token: float(w) for token, w in tokens if w > 0} for tokens in decoded]


@lru_cache(maxsize=2)
def _load_model(
    name: str, revision: str | None, device: str | None, file_states: _FileStates
) -> _TorchModel:
    """Load a model; `file_states` is only a key of the cache."""
    try:
        from sentence_transformers import SparseEncoder as Model
    except ModuleNotFoundError:
        raise MissingExtra.of("local", f"the sparse encoder {name}") from None
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise EmbeddingError(f"cannot load {name}: there is no such folder", model=name)
    try:
        return _TorchModel(name, Model(name, revision=revision, device=device), threading.Lock())
    except Exception as error:  # whatever torch, transformers and the hub's client raise
        reason = " ".join(str(error).split())[:300]
        raise EmbeddingError(
            f"cannot load {name} (a folder, or a model of the hub that can be reached): {reason}",
            model=name,
        ) from None


class OnnxSparseEncoder(SparseEncoder):
    """A sparse encoder on onnxruntime, from a folder. It needs no extra.

    ``folder`` holds ``tokenizer.json`` and ``model.onnx`` (or ``onnx/model.onnx``). The output of
    the model is a weight per token of the vocabulary, or the logits of a masked language model,
    which are pooled as SPLADE does: the maximum of ``log(1 + relu(logit))`` over the text. If
    ``idf.json`` (token to weight) is present, a query is encoded without the model: each of its
    tokens has that weight. Texts above ``max_tokens`` are truncated. ``threads`` limits the threads
    of onnxruntime. Other files of the model give another fingerprint.

    Source: https://arxiv.org/abs/2109.10086, https://arxiv.org/abs/2411.04403 (without inference)
    """

    name: ClassVar[str] = "onnx"
    main_setting: ClassVar[str] = "folder"

    folder: Annotated[Path, NotFingerprinted]
    max_tokens: int = Field(512, ge=8, le=32_768)
    threads: Annotated[int | None, NotFingerprinted] = Field(None, ge=1, le=256)

    @property
    def fingerprint(self) -> str:
        """Fingerprint that includes the files of the model."""
        return _fingerprint_folder(super().fingerprint, self.folder)

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """See `SparseEncoder.encode_documents`."""
        loaded = self._loaded_model
        return [loaded.encode(text) if text.strip() else {} for text in texts]

    def encode_query(self, text: str) -> SparseVector:
        """See `SparseEncoder.encode_query`."""
        loaded = self._loaded_model
        if not text.strip():
            return {}
        if loaded.idf is None:
            return loaded.encode(text)
        tokens = loaded.tokenizer.encode(text, add_special_tokens=False).tokens
        return {token: w for token in tokens if (w := loaded.idf.get(token, 0.0)) > 0}

    @property
    def _loaded_model(self) -> _OnnxModel:
        return _load_folder(
            self.folder, self.max_tokens, self.threads, _list_file_states(self.folder)
        )


class _OnnxModel(NamedTuple):
    name: str
    session: Any
    tokenizer: Any
    idf: dict[str, float] | None
    is_double_log: bool

    def encode(self, text: str) -> SparseVector:
        """Return the weights of a text."""
        import numpy as np

        encoding = self.tokenizer.encode(text)
        ids = np.array([encoding.ids], dtype=np.int64)
        mask = np.ones_like(ids)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        names = {item.name for item in self.session.get_inputs()}
        with _translate_inference_errors(self.name):
            outputs = self.session.run(
                None, {name: value for name, value in inputs.items() if name in names}
            )
        weights = self._pool(np.asarray(outputs[0], dtype=np.float32))
        return {
            self.tokenizer.id_to_token(i): float(weights[i])
            for i in np.flatnonzero(weights > 0).tolist()
            if self.tokenizer.id_to_token(i) is not None
        }

    def _pool(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the weights from the output of the model, whose first axis is the batch."""
        import numpy as np

        if output.ndim == 2:  # the model has pooled
            pooled: NDArray[np.float32] = output[0]
            return pooled
        weights: NDArray[np.float32] = np.log1p(np.maximum(output[0].max(axis=0), 0))
        return np.log1p(weights) if self.is_double_log else weights


@lru_cache(maxsize=2)
def _load_folder(
    folder: Path, max_tokens: int, threads: int | None, file_states: _FileStates
) -> _OnnxModel:
    """Load a model; `file_states` is only a key of the cache."""
    import onnxruntime
    from tokenizers import Tokenizer

    model = _find_model(folder)
    missing = [name for name in ("tokenizer.json",) if not (folder / name).is_file()]
    missing += [] if model.is_file() else ["model.onnx"]
    if missing:
        raise EmbeddingError(
            f"the folder {folder} has no {' and no '.join(missing)}", model=str(folder)
        )
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        return _OnnxModel(
            str(folder), session, tokenizer, _read_idf(folder), _has_double_log(folder)
        )
    except Exception as error:  # whatever onnxruntime, tokenizers and json raise
        reason = " ".join(str(error).split())[:300]
        raise EmbeddingError(
            f"cannot load the sparse encoder in {folder}: {reason}", model=str(folder)
        ) from None


def _fingerprint_folder(fingerprint: str, folder: Path) -> str:
    """Return a fingerprint that includes the files of the model in `folder`, if it is one."""
    for file in _list_model_files(folder):
        fingerprint = add_file_to_fingerprint(fingerprint, file)
    return fingerprint


def _list_file_states(folder: Path) -> _FileStates:
    """Return name, size and time of each file of a model, so that changed files are loaded."""
    states = [(str(file), file.stat()) for file in _list_model_files(folder)]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


def _list_model_files(folder: Path) -> list[Path]:
    patterns = _MODEL_FILE_PATTERNS if folder.is_dir() else ()
    return sorted({file for pattern in patterns for file in folder.rglob(pattern)})


@contextmanager
def _translate_inference_errors(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever torch and onnxruntime raise
        reason = " ".join(str(error).split())[:300]
        raise EmbeddingError(
            f"the sparse encoder {name} cannot encode: {reason}", model=name
        ) from None


def _find_model(folder: Path) -> Path:
    files = [folder / name for name in _MODEL_FILES]
    return next((file for file in files if file.is_file()), files[0])


def _read_idf(folder: Path) -> dict[str, float] | None:
    """Return the weights of the tokens of queries; None if the model encodes queries itself."""
    file = folder / "idf.json"
    if not file.is_file():
        return None
    return {token: float(w) for token, w in json.loads(file.read_text(encoding="utf-8")).items()}


def _has_double_log(folder: Path) -> bool:
    """Whether the model was trained with the logarithm twice, as sentence-transformers notes."""
    for name in _POOLING_FILES:
        if (folder / name).is_file():
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            return bool(config.get("activation_function") == "log1p_relu")
    return False

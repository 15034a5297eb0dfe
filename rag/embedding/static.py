"""The default embedder: means of static token vectors, without download or torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from rag.embedding.base import Embedder, KnownModel, Side
from rag.errors import EmbeddingError
from rag.types.base import to_well_formed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

TEXTS_PER_TOKENIZER_CALL = (
    256  # texts a tokenizer call: enough to keep its threads busy, small in memory
)
MAX_SINGLE_THREAD_CHARACTERS = 4_000  # characters of a batch that one thread goes through


class StaticEmbedder(Embedder):
    """The 256-dimensional static vectors of WordLlama (L2-supercat), read from its wheel.

    The vector of a text is the mean of its token vectors, so texts have no length limit. The
    tokenizer knows few capitalized words, so runs of capitals are lower-cased first (see
    `lower_capitals`). ``dimensions`` keeps the first values only, normalized again: the vectors
    were trained for 64 and 128 values as well (Matryoshka representation learning).

    Source: https://github.com/dleemiller/WordLlama; measured in ``docs/decisions.md``.
    """

    name: ClassVar[str] = "static"
    is_multilingual: ClassVar[bool] = False

    dimensions: int | None = Field(None, ge=16, le=256)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """Return the only model."""
        return (KnownModel("wordllama l2_supercat", 256, None, 0.0),)

    @property
    def dimension(self) -> int:
        """Vector length: 256, or ``dimensions``."""
        return self.dimensions or int(_load_model().vectors.shape[1])

    def dense_weight(self, query: str) -> float:
        """Return .4, because a mean of word vectors is less precise than BM25.

        Return .001 for a query in a script that the vectors were not trained on: then they only
        break ties and help if no word matches.
        """
        letters = sum(character.isalpha() for character in query)
        return 0.4 if len(_LATIN.findall(query)) >= letters / 2 else 0.001

    @property
    def max_tokens(self) -> int:
        """A limit against absurd input. A mean has no limit of its own."""
        return 1_000_000

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text in the vocabulary of Llama 2."""
        tokenizer = _load_model().tokenizer
        return [
            len(encoding)
            for i in range(0, len(texts), TEXTS_PER_TOKENIZER_CALL)
            for encoding in tokenizer.encode_batch_fast(
                [lower_capitals(text) for text in texts[i : i + TEXTS_PER_TOKENIZER_CALL]],
                add_special_tokens=False,
            )
        ]

    @property
    def usd_per_million_tokens(self) -> float:
        """Price: 0 for a local model."""
        return 0.0

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages: float32 ``[len(texts), dimension]``."""
        import numpy as np

        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for i in range(0, len(texts), TEXTS_PER_TOKENIZER_CALL):
            out[i : i + TEXTS_PER_TOKENIZER_CALL] = _embed(
                texts[i : i + TEXTS_PER_TOKENIZER_CALL], self.dimension
            )
        return out

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_queries`."""
        return self.embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embed a question: float32 ``[dimension]``."""
        vector: NDArray[np.float32] = self.embed_documents([text])[0]
        return vector

    def embed_tokens(self, texts: Sequence[str], side: Side) -> list[NDArray[np.float32]]:
        """See `Embedder.embed_tokens`."""
        import numpy as np

        model = _load_model()
        encodings = model.tokenizer.encode_batch_fast(
            [lower_capitals(text) for text in texts], add_special_tokens=False
        )
        vectors = [
            model.vectors[np.array(encoding.ids, dtype=np.int32)][:, : self.dimension]
            for encoding in encodings
        ]
        norms = [np.linalg.norm(token_vectors, axis=1, keepdims=True) for token_vectors in vectors]
        return [
            token_vectors / np.maximum(n, 1e-12)
            for token_vectors, n in zip(vectors, norms, strict=True)
        ]


_LATIN = re.compile("[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]")

# Possessive, and begun at the start of words only: linear on any text.
_CAPITALS = re.compile(r"(?<![^\W_])[^\W\d_a-z]{2,}+(?:[\W\d_]++[^\W\d_a-z]{2,}+){2,}+")


def lower_capitals(text: str) -> str:
    """Lower-case runs of three or more words in capitals. Acronyms in running text stay.

    On the queries of Vaswani, which are all in capitals, nDCG@10 of the static embedder is .059
    without this step and .360 with it (``docs/decisions.md``).
    """
    return text if text.islower() else _CAPITALS.sub(_lower_if_upper, text)


def _lower_if_upper(run: re.Match[str]) -> str:
    words = run.group()
    return words.lower() if words.isupper() else words


def _embed(texts: Sequence[str], dimension: int) -> NDArray[np.float32]:
    import numpy as np

    model = _load_model()
    prepared = ["" if text.isspace() else lower_capitals(to_well_formed(text)) for text in texts]
    if (
        sum(map(len, prepared)) < MAX_SINGLE_THREAD_CHARACTERS
    ):  # not worth waking the threads a batch is spread over
        encodings = [model.tokenizer.encode(text, add_special_tokens=False) for text in prepared]
    else:
        encodings = model.tokenizer.encode_batch_fast(prepared, add_special_tokens=False)
    sums = np.zeros((len(texts), model.vectors.shape[1]), dtype=np.float32)
    for row, encoding in zip(sums, encodings, strict=True):
        # Text by text: five times as fast as padding a batch, and the same whatever the batch.
        model.vectors[np.array(encoding.ids, dtype=np.int32)].sum(axis=0, out=row)
    sums = sums[:, :dimension]
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    normalised: NDArray[np.float32] = np.divide(sums, norms, out=sums, where=norms > 0)
    return normalised


class _StaticModel(NamedTuple):
    tokenizer: Tokenizer
    vectors: NDArray[np.float32]


@lru_cache(maxsize=1)
def _load_model() -> _StaticModel:
    """Read vocabulary and vectors from the wheel's own files; nothing is looked up online.

    Read directly and not through `wordllama`, whose import alone costs 0.17 s (it brings an
    HTTP client along) and which pads each batch to its longest text.
    """
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddingError("the package wordllama, which carries the vectors, is not installed")
    folder = Path(spec.submodule_search_locations[0])
    try:
        tokenizer = Tokenizer.from_file(
            str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")
        )
        (vectors,) = load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
    except Exception as error:  # tokenizers raises bare Exception
        raise EmbeddingError(f"cannot read the static vectors in {folder}: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _StaticModel(tokenizer, vectors.astype("float32"))

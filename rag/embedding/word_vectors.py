"""Static word vectors from files: word2vec, GloVe, fastText."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import math
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple, cast

from pydantic import Field

from rag.embedding.base import Embedder
from rag.embedding.batched import normalize
from rag.errors import EmbeddingError
from rag.text.tokenization import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WordVectorEmbedder(Embedder):
    """The weighted mean of the word vectors of a text. Rare words have a higher weight.

    ``path`` is a file of word2vec (text or binary), GloVe or fastText (``.vec``), optionally with
    ``.gz``. The weight of a word is ``a / (a + p)`` with ``a`` = .001 (smooth inverse frequency:
    Arora et al., 2017). ``p`` is the frequency of the word by Zipf's law from its rank in the file;
    such files list frequent words first. ``limit`` keeps the first words only. Words outside the
    file are ignored, and a text that has no known word gives zeros.

    The fingerprint includes the content of the file, by its size and samples of it.
    """

    name: ClassVar[str] = "word-vectors"
    main_setting: ClassVar[str] = "path"

    path: Path
    limit: int | None = Field(None, ge=1)

    @property
    def fingerprint(self) -> str:
        """Fingerprint that includes the file.

        Another file under the same name is another embedder.
        """
        return add_file_to_fingerprint(super().fingerprint, self.path)

    @property
    def dimension(self) -> int:
        """Vector length in the file."""
        return int(self._word_vectors.vectors.shape[1])

    def dense_weight(self, query: str) -> float:
        """Return .4, because a mean of word vectors is less precise than BM25."""
        return 0.4

    @property
    def max_tokens(self) -> int:
        """A limit against absurd input. A mean has no limit of its own."""
        return 1_000_000

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the words of each text."""
        return [len(words(text)) for text in texts]

    @property
    def usd_per_million_tokens(self) -> float:
        """Price: 0 for a local model."""
        return 0.0

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        import numpy as np

        word_vectors = self._word_vectors
        out = np.zeros((len(texts), word_vectors.vectors.shape[1]), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            rows = [
                word_row
                for word in words(text)
                if (word_row := word_vectors.find_row(word)) is not None
            ]
            if rows:
                row += word_vectors.weights[rows] @ word_vectors.vectors[rows]
        return normalize(out)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """See `Embedder.embed_query`."""
        vector: NDArray[np.float32] = self.embed_documents([text])[0]
        return vector

    @property
    def _word_vectors(self) -> _WordVectors:
        try:
            modified_ns = self.path.stat().st_mtime_ns
        except (OSError, ValueError) as error:
            raise EmbeddingError(f"cannot read the word vectors {self.path}: {error}") from None
        return _load_vectors(self.path, self.limit, modified_ns)


SMOOTHING = 0.001
FINGERPRINT_SAMPLES, BYTES_PER_SAMPLE = (
    16,
    65_536,
)  # stretches of a file that tell it from others, and their bytes


def add_file_to_fingerprint(fingerprint: str, path: Path) -> str:
    """Return a fingerprint that includes the content of a file, by its size and samples of it."""
    hashed = hashlib.sha256(fingerprint.encode())
    try:
        size = path.stat().st_size
        hashed.update(str(size).encode())
        with path.open("rb") as file:
            for i in range(FINGERPRINT_SAMPLES):
                file.seek(i * max(0, size - BYTES_PER_SAMPLE) // (FINGERPRINT_SAMPLES - 1))
                hashed.update(file.read(BYTES_PER_SAMPLE))
    except (OSError, ValueError):
        return fingerprint  # who reads it will say what is wrong
    return hashed.hexdigest()[:16]


class _WordVectors(NamedTuple):
    rows: dict[str, int]
    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]

    def find_row(self, word: str) -> int | None:
        row = self.rows.get(word)
        return self.rows.get(word.capitalize()) if row is None else row


@lru_cache(maxsize=2)
def _load_vectors(path: Path, limit: int | None, modified_ns: int) -> _WordVectors:
    import numpy as np

    try:
        with _open_file(path) as file:
            entries = list(itertools.islice(_read_vectors(file), limit))
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise EmbeddingError(f"cannot read the word vectors {path}: {error}") from None
    if not entries:
        raise EmbeddingError(f"there are no word vectors in {path}")
    length = len(entries[0][1])
    if odd_word := next((word for word, vector in entries if len(vector) != length), None):
        raise EmbeddingError(f"{path}: the vector of {odd_word!r} has not {length} values")
    vectors = np.stack([vector for _, vector in entries]).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise EmbeddingError(f"{path} has a vector with NaN or infinity in it")
    rows: dict[str, int] = {}
    for i, (word, _) in enumerate(entries):
        rows.setdefault(word, i)
    share = 1 / (np.arange(1, len(entries) + 1) * (math.log(len(entries)) + 0.5772))
    return _WordVectors(rows, vectors, (SMOOTHING / (SMOOTHING + share)).astype(np.float32))


def _open_file(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read_vectors(file: BinaryIO) -> Iterator[tuple[str, NDArray[np.float32]]]:
    first = file.readline(10_000)
    if first.startswith(b"\xba\x16\x4f\x2f"):  # fastText's own binary form
        raise ValueError("a model of fastText: its .vec file is what is read here")
    first = first.removeprefix(b"\xef\xbb\xbf")
    head = first.split()
    if len(head) == 2 and all(part.isdigit() for part in head):  # word2vec and fastText
        count, length = int(head[0]), int(head[1])
        if length < 1:
            raise ValueError("its vectors are to have no value")
        yield from _read_after_header(file, count, length)
    else:
        yield from _read_text_lines(itertools.chain([first], file), None)


def _read_after_header(
    file: BinaryIO, count: int, length: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    import numpy as np

    second = file.readline(100_000)
    try:
        next(iter(_read_text_lines([second], length)))
    except (ValueError, StopIteration):
        pass
    else:
        missing_count = count
        for entry in _read_text_lines(itertools.chain([second], file), length):
            yield entry
            missing_count -= 1
        if missing_count:
            raise ValueError(f"the file says {count} words, and has {count - missing_count}")
        return
    buffer = second
    for _ in range(count):  # binary: the word, a blank, the values as little-endian floats
        while b" " not in buffer or len(buffer) - buffer.index(b" ") - 1 < 4 * length:
            block = file.read(65_536)
            if not block:
                raise ValueError(f"the file ends before its {count} words do")
            buffer += block
        word, _, remainder = buffer.partition(b" ")
        values = np.frombuffer(remainder[: 4 * length], dtype="<f4")
        buffer = remainder[4 * length :].removeprefix(b"\n")
        yield word.strip().decode("utf-8", "replace"), values


def _read_text_lines(
    lines: Iterator[bytes] | Sequence[bytes], length: int | None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    import numpy as np

    for line in lines:
        text = line.decode("utf-8").rstrip()
        if not text:
            continue
        parts = text.split(" ")
        length = length if length is not None else len(parts) - 1
        if len(parts) < length + 1 or length < 1:
            raise ValueError(f"not a word and {length} numbers: {text[:60]!r}")
        # A word of GloVe's may have blanks in it, but does not end in a number.
        word, values = " ".join(parts[:-length]), parts[-length:]
        if len(parts) > length + 1 and _is_number(parts[-length - 1]):
            raise ValueError(f"more than {length} numbers: {text[:60]!r}")
        yield word, np.array([float(value) for value in values], dtype=np.float32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

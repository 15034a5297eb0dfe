"""Static word vectors that people already have: word2vec, GloVe, fastText."""

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
from rag.embedding.batched import normalised
from rag.errors import EmbeddingError
from rag.text.tokenization import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WordVectorEmbedder(Embedder):
    """The mean of the vectors of a text's words, rare words counting more.

    ``path`` is a file of word2vec (text or binary), GloVe or fastText (``.vec``), also with
    ``.gz``. A word's weight is ``a / (a + p)``, with its share ``p`` of all words as Zipf's law has
    it from its place in the file, which such files have from the most frequent word on, and ``a``
    = .001 (smooth inverse frequency: Arora et al., 2017). ``limit`` keeps the first so many words.
    Words that the file does not have count for nothing, and so has a text of them only.

    What is in the file is part of the fingerprint, by its size and samples of it.
    """

    name: ClassVar[str] = "word-vectors"

    path: Path
    limit: int | None = Field(None, ge=1)

    @property
    def fingerprint(self) -> str:
        """See `Component.fingerprint`; another file under the same name is another embedder."""
        return _with_file(super().fingerprint, self.path)

    @property
    def dimension(self) -> int:
        """That of the file."""
        return int(self._loaded.vectors.shape[1])

    def dense_weight(self, query: str) -> float:
        """.4: a mean of words sees less than BM25 does."""
        return 0.4

    @property
    def max_tokens(self) -> int:
        """No text is too long for a mean; a bound all the same, against absurd input."""
        return 1_000_000

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Number of words of each text."""
        return [len(words(text)) for text in texts]

    @property
    def usd_per_million_tokens(self) -> float:
        """Nothing: it runs here."""
        return 0.0

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        import numpy as np

        loaded = self._loaded
        out = np.zeros((len(texts), loaded.vectors.shape[1]), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            places = [place for word in words(text) if (place := loaded.place(word)) is not None]
            if places:
                row += loaded.weights[places] @ loaded.vectors[places]
        return normalised(out)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """See `Embedder.embed_query`."""
        vector: NDArray[np.float32] = self.embed_documents([text])[0]
        return vector

    @property
    def _loaded(self) -> _Loaded:
        try:
            changed = self.path.stat().st_mtime_ns
        except (OSError, ValueError) as error:
            raise EmbeddingError(f"cannot read the word vectors {self.path}: {error}") from None
        return _load(self.path, self.limit, changed)


_A = 0.001
_SAMPLES, _SAMPLE = 16, 65_536  # stretches of a file that tell it from others, and their bytes


def _with_file(fingerprint: str, path: Path) -> str:
    hashed = hashlib.sha256(fingerprint.encode())
    try:
        size = path.stat().st_size
        hashed.update(str(size).encode())
        with path.open("rb") as file:
            for i in range(_SAMPLES):
                file.seek(i * max(0, size - _SAMPLE) // (_SAMPLES - 1))
                hashed.update(file.read(_SAMPLE))
    except (OSError, ValueError):
        return fingerprint  # who reads it will say what is wrong
    return hashed.hexdigest()[:16]


class _Loaded(NamedTuple):
    places: dict[str, int]
    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]

    def place(self, word: str) -> int | None:
        found = self.places.get(word)
        return self.places.get(word.capitalize()) if found is None else found


@lru_cache(maxsize=2)
def _load(path: Path, limit: int | None, changed: int) -> _Loaded:
    import numpy as np

    try:
        with _opened(path) as file:
            found = list(itertools.islice(_read(file), limit))
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise EmbeddingError(f"cannot read the word vectors {path}: {error}") from None
    if not found:
        raise EmbeddingError(f"there are no word vectors in {path}")
    length = len(found[0][1])
    if odd := next((word for word, vector in found if len(vector) != length), None):
        raise EmbeddingError(f"{path}: the vector of {odd!r} has not {length} values")
    vectors = np.stack([vector for _, vector in found]).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise EmbeddingError(f"{path} has a vector with NaN or infinity in it")
    places: dict[str, int] = {}
    for i, (word, _) in enumerate(found):
        places.setdefault(word, i)
    share = 1 / (np.arange(1, len(found) + 1) * (math.log(len(found)) + 0.5772))
    return _Loaded(places, vectors, (_A / (_A + share)).astype(np.float32))


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read(file: BinaryIO) -> Iterator[tuple[str, NDArray[np.float32]]]:
    first = file.readline(10_000)
    if first.startswith(b"\xba\x16\x4f\x2f"):  # fastText's own binary form
        raise ValueError("a model of fastText: its .vec file is what is read here")
    first = first.removeprefix(b"\xef\xbb\xbf")
    head = first.split()
    if len(head) == 2 and all(part.isdigit() for part in head):  # word2vec and fastText
        count, length = int(head[0]), int(head[1])
        if length < 1:
            raise ValueError("its vectors are to have no value")
        yield from _after_head(file, count, length)
    else:
        yield from _lines(itertools.chain([first], file), None)


def _after_head(
    file: BinaryIO, count: int, length: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    import numpy as np

    second = file.readline(100_000)
    try:
        next(iter(_lines([second], length)))
    except (ValueError, StopIteration):
        pass
    else:
        left = count
        for entry in _lines(itertools.chain([second], file), length):
            yield entry
            left -= 1
        if left:
            raise ValueError(f"the file says {count} words, and has {count - left}")
        return
    held = second
    for _ in range(count):  # binary: the word, a blank, the values as little-endian floats
        while b" " not in held or len(held) - held.index(b" ") - 1 < 4 * length:
            more = file.read(65_536)
            if not more:
                raise ValueError(f"the file ends before its {count} words do")
            held += more
        word, _, rest = held.partition(b" ")
        values = np.frombuffer(rest[: 4 * length], dtype="<f4")
        held = rest[4 * length :].removeprefix(b"\n")
        yield word.strip().decode("utf-8", "replace"), values


def _lines(
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

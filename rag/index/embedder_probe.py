"""Embedder probe: whether the model behind a name is still the one that the index was made with.

A server can load another model under the same name. The vector of one text is kept with the index;
at the beginning of an ingest, a remote embedder embeds this text again. Searches compare only the
length, which costs no request.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rag.embedding import Embedder
from rag.errors import EmbedderMismatch, EmbeddingError, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TEXT = "The harbour office opens at eight and keeps the tide tables."
_FILE = "embedder_probe.json"
_SAME_MODEL = 0.98  # cosine of two vectors of one text; servers round differently


class EmbedderProbe:
    """The probe of the index at `path`, embedded by `embedder`."""

    def __init__(self, path: Path, embedder: Embedder) -> None:
        self._path = path
        self._embedder = embedder
        self._is_checked = False

    def check(self) -> None:
        """Compare the embedder with the probe; store the probe if there is none.

        Raises `EmbedderMismatch` if another model answers. A server that does not answer is not
        checked.
        """
        if self._is_checked or not self._embedder.is_remote:
            return
        import numpy as np

        try:
            (vector,) = self._embedder.embed_documents([_TEXT])
        except (ModelError, EmbeddingError):
            return
        self._is_checked = True
        known = self._read()
        if known is None:
            self._write(vector)
            return
        if len(known) != len(vector):
            raise make_length_error(self._path, self._embedder, len(known), len(vector))
        norms = float(np.linalg.norm(known) * np.linalg.norm(vector)) or 1.0
        cosine = float(known @ vector) / norms
        if cosine < _SAME_MODEL:
            raise _make_error(
                self._path,
                self._embedder,
                f"sends another vector for the same text than it did (cosine {cosine:.2f})",
            )

    def forget(self) -> None:
        """Forget the vector, before all texts are embedded again."""
        self._is_checked = False
        (self._path / _FILE).unlink(missing_ok=True)

    def _read(self) -> NDArray[np.float32] | None:
        import numpy as np

        with suppress(OSError, ValueError, KeyError, TypeError):
            probe = json.loads((self._path / _FILE).read_text(encoding="utf-8"))
            if probe["fingerprint"] == self._embedder.fingerprint:
                return np.array(probe["vector"], dtype=np.float32)
        return None

    def _write(self, vector: NDArray[np.float32]) -> None:
        probe = {
            "fingerprint": self._embedder.fingerprint,
            "vector": [round(float(value), 5) for value in vector],
        }
        target = self._path / _FILE
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(probe), encoding="utf-8")
        temporary.replace(target)


def make_length_error(path: Path, embedder: Embedder, built: int, sent: int) -> EmbedderMismatch:
    """Return the error for vectors of another length than those of the index."""
    return _make_error(
        path, embedder, f"sends vectors of {sent} values, and the index has vectors of {built}"
    )


def _make_error(path: Path, embedder: Embedder, what: str) -> EmbedderMismatch:
    name = getattr(embedder, "model", embedder.name)
    return EmbedderMismatch(
        f"another model answers under the name {name!r}: it {what} ({path}). Load the former model "
        "again, or run `rag index rebuild --reembed`, which embeds all texts again",
        path=path,
    )

from pathlib import Path
from typing import Any

import pytest

from rag.stores.location import StoreLocation
from rag.stores.tantivy import Tantivy, TantivyIndex


def test_only_a_refresh_shows_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload by a thread of tantivy could show an earlier commit than the last refresh did."""
    policies: list[str] = []
    configure = TantivyIndex._configure

    class RecordingIndex:
        def __init__(self, index: Any) -> None:
            self._index = index

        def config_reader(self, reload_policy: str = "commit") -> None:
            policies.append(reload_policy)
            self._index.config_reader(reload_policy)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._index, name)

    monkeypatch.setattr(
        TantivyIndex,
        "_configure",
        lambda store, index: configure(store, RecordingIndex(index))._index,
    )
    location = StoreLocation(tmp_path, "words")
    Tantivy().create(location)
    Tantivy().open(location).close()
    assert policies == ["manual"]

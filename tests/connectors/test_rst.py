from typing import Any

import pytest
from docutils import core

from connectors.parsers import rst


def test_docutils_runs_in_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its warning filters, roles and state machines are global: a race loses the headings."""
    publish, was_locked = core.publish_doctree, []

    def publish_doctree(*args: Any, **options: Any) -> Any:
        was_locked.append(rst._DOCUTILS_LOCK.locked())
        return publish(*args, **options)

    monkeypatch.setattr(core, "publish_doctree", publish_doctree)
    document = rst.RstParser().parse(b"Head\n====\n\nText.\n", uri="file:///a.rst")
    assert document.title == "Head"
    assert was_locked == [True]

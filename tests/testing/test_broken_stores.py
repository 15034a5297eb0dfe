"""The contracts of the three stores find broken stores.

Each case replaces one method of a good store, and names the test that must fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rag.component import Component
from rag.stores import DocumentInfo, FailureEntry, StoreLocation
from rag.testing import (
    DocumentStoreContract,
    LexicalIndexContract,
    VectorStoreContract,
    run_contract,
)
from tests.testing.third_party_stores import (
    Journal,
    JournalStore,
    JsonPostings,
    JsonPostingsIndex,
    NumpyFiles,
    NumpyFilesStore,
)

CONTRACTS: dict[type[Component], type] = {
    Journal: DocumentStoreContract,
    NumpyFiles: VectorStoreContract,
    JsonPostings: LexicalIndexContract,
}


def exist_always(store: object) -> bool:
    return True


def exist_while_the_path_does(store: JournalStore) -> bool:
    return store._path.exists()


def list_by_name(index: JsonPostingsIndex) -> list[str]:
    return sorted(index._postings.languages)


def list_rarest_first(index: JsonPostingsIndex) -> list[str]:
    return index._postings.languages[::-1]


def list_as_added(index: JsonPostingsIndex) -> list[str]:
    return list(dict.fromkeys(entry.language for entry in index._postings.entries))


def change_times(
    change: Callable[[float], float],
) -> Callable[[JournalStore], list[DocumentInfo]]:
    """Return a method `documents` that changes the times of writing."""
    documents = JournalStore.documents

    def list_documents(store: JournalStore) -> list[DocumentInfo]:
        return [replace(info, written_at=change(info.written_at)) for info in documents(store)]

    return list_documents


OPEN = Journal.open


def open_for_writing(
    config: Journal, location: StoreLocation, *, create: bool = False, read_only: bool = False
) -> JournalStore:
    return OPEN(config, location, create=create)


def keep_failures(
    is_kept: Callable[[FailureEntry, Sequence[str], Sequence[str]], bool],
) -> Callable[[JournalStore, Sequence[str]], int]:
    """Return a method `mark_deleted` after which only the failures that `is_kept` are left.

    `is_kept` gets a failure, the uris to delete, and the uris of all live documents.
    """
    mark_deleted = JournalStore.mark_deleted

    def mark_and_keep(store: JournalStore, uris: Sequence[str]) -> int:
        failures, live_uris = store.failures(), store.uris()
        count = mark_deleted(store, uris)
        store.delete_failures([failure.uri for failure in failures])
        store.record_failures([f for f in failures if is_kept(f, uris, live_uris)])
        return count

    return mark_and_keep


def forget_highest(counter: str, stored: str, method: str) -> Callable[..., Any]:
    """Return a method that first continues to count after the highest number that is stored."""
    original = getattr(JournalStore, method)

    def forget_and_call(store: JournalStore, *arguments: Any) -> Any:
        if method == "__init__":
            original(store, *arguments)
        setattr(store, counter, max(getattr(store, stored), default=0))
        return None if method == "__init__" else original(store, *arguments)

    return forget_and_call


READ_ONLY_TEST = "test_read_only_store_refuses_writes"
FILES_TEST = "test_deleted_files_are_noticed"
DOCUMENT_FILES_TEST = "test_deleted_or_replaced_files_are_noticed"
LANGUAGES_TEST = "test_languages_are_sorted_by_frequency"
FAILURES_TEST = "test_mark_deleted_deletes_the_failures_of_its_uris"
NUMBERS_TEST = "test_numbers_are_never_used_again"
TIME_TEST = "test_time_of_writing_is_kept"

BROKEN_STORES: dict[str, tuple[type[Component], type, str, Callable[..., Any], str]] = {
    "ignores read_only": (Journal, Journal, "open", open_for_writing, READ_ONLY_TEST),
    "documents exist always": (
        Journal, JournalStore, "storage_exists", exist_always, DOCUMENT_FILES_TEST,
    ),
    "does not see a replacement": (
        Journal, JournalStore, "storage_exists", exist_while_the_path_does, DOCUMENT_FILES_TEST,
    ),
    "vectors exist always": (
        NumpyFiles, NumpyFilesStore, "storage_exists", exist_always, FILES_TEST,
    ),
    "words exist always": (
        JsonPostings, JsonPostingsIndex, "storage_exists", exist_always, FILES_TEST,
    ),
}  # fmt: skip
for name, change in {
    "time of reading": lambda written_at: time.time(),
    "milliseconds": lambda written_at: 1_000 * written_at,
    "no time": lambda written_at: 0.0,
}.items():
    BROKEN_STORES[name] = (Journal, JournalStore, "documents", change_times(change), TIME_TEST)
for languages in (list_by_name, list_rarest_first, list_as_added):
    BROKEN_STORES[languages.__name__] = (
        JsonPostings, JsonPostingsIndex, "languages", languages, LANGUAGES_TEST,
    )  # fmt: skip
for name, is_kept in {
    "loses all failures": lambda failure, uris, live_uris: False,
    "keeps all failures": lambda failure, uris, live_uris: True,
    "keeps failures without a document": lambda failure, uris, live_uris: (
        failure.uri not in uris or failure.uri not in live_uris
    ),
}.items():
    BROKEN_STORES[name] = (
        Journal, JournalStore, "mark_deleted", keep_failures(is_kept), FAILURES_TEST,
    )  # fmt: skip
for counter, stored in (("_last_document", "_documents"), ("_last_row", "_chunks")):
    for method in ("add_pending", "__init__"):
        BROKEN_STORES[f"{counter} forgotten in {method}"] = (
            Journal, JournalStore, method, forget_highest(counter, stored, method), NUMBERS_TEST,
        )  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_STORES)
def test_broken_store_fails(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config_class, owner, method, replacement, test = BROKEN_STORES[case]
    monkeypatch.setattr(owner, method, replacement)
    members = {"make_part": lambda self: config_class()}
    errors = run_contract(type("Contract", (CONTRACTS[config_class],), members), test)
    assert isinstance(errors.get(test), AssertionError), f"{errors}"


@pytest.mark.parametrize("config_class", CONTRACTS, ids=lambda c: c.__name__)
def test_good_stores_pass_the_same_tests(config_class: type[Component]) -> None:
    contract = CONTRACTS[config_class]
    tests = {case[-1] for case in BROKEN_STORES.values() if case[0] is config_class}
    members = {"make_part": lambda self: config_class()}
    assert run_contract(type("Contract", (contract,), members), *tests) == {}

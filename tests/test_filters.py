"""The filter language: operators, JSON form, and invalid filters."""

import pytest

from rag import Document, F, Filter
from rag.errors import QueryError

OLD = Document(uri="file:///a", text="x", metadata={"year": 2019, "lang": "en", "tags": ("a", 1)})
NEW = Document(uri="file:///b", text="x", metadata={"year": 2021, "lang": "de", "draft": True})


def select_uris(where: Filter) -> str:
    return "".join(name for name, d in (("old ", OLD), ("new", NEW)) if where.matches(d)).strip()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (F("year") >= 2020 & F("lang").in_(["en", "de"]), "new"),
        (F("year") >= 2020 | F("lang").in_(["en"]), "old new"),
        ((F("year") > 2018) & (F("year") < 2020), "old"),
        (F("year") == 2019.0, "old"),
        (F("year") == "2019", ""),
        (F("year") != 2019, "new"),
        (F("tags") == 1, "old"),
        (F("tags") != 1, "new"),
        (F("tags").not_in(["a"]), "new"),
        (F("draft") == True, "new"),  # noqa: E712
        (F("draft") == 1, ""),
        (F("draft").exists(), "new"),
        (~F("draft").exists(), "old"),
        (~~F("draft").exists(), "new"),
        (F("lang") < "e", "new"),
        (F("lang") <= 5, ""),
        (F("uri").startswith("file:///a"), "old"),
        (F("lang").contains("e"), "old new"),
        (F("nothing").in_([]), ""),
    ],
)
def test_filters_and_their_json_select_the_same_documents(where: Filter, expected: str) -> None:
    assert select_uris(where) == expected
    assert select_uris(Filter.of(where.to_json())) == expected


def test_json_and_mappings_become_filters() -> None:
    assert select_uris(Filter.of({"year": 2021, "lang": ["de", "fr"]})) == "new"
    assert select_uris(Filter.of({})) == "old new"
    assert select_uris(Filter.of({"or": [{"year": 2021}, {"tags": "a"}]})) == "old new"
    assert select_uris(Filter.of({"not": {"field": "draft", "op": "exists"}})) == "old"
    assert select_uris(Filter.of({"field": "draft", "op": "exists", "value": False})) == "old"
    assert Filter.of({"field": "x"}).to_json() == {"field": "field", "op": "==", "value": "x"}
    assert (F("a") == 1).to_json() == {"field": "a", "op": "==", "value": 1}


def test_repeated_and_conditions_are_flattened() -> None:
    where = F("a").exists()
    for _ in range(2_000):
        where = where & F("a").exists()
    assert len(where.to_json()["and"]) == 2_001


@pytest.mark.parametrize(
    "make",
    [
        lambda: F(""),
        lambda: F("a") == None,  # noqa: E711
        lambda: F("a") == {"b": 1},
        lambda: F("a") == float("nan"),
        lambda: F("a") == 2**63,
        lambda: F("a") < True,
        lambda: F("a").in_("abc"),
        lambda: F("a").startswith(1),  # type: ignore[arg-type]
        lambda: Filter.of({"field": "a", "op": "~", "value": 1}),
        lambda: Filter.of({"field": "a", "op": "<"}),
        lambda: Filter.of(["a"]),  # type: ignore[arg-type]
        lambda: Filter.of({"a": {"b": 1}}),
        lambda: Filter.of({1: 2}),  # type: ignore[dict-item]
    ],
)
def test_invalid_filters_raise_a_query_error(make: object) -> None:
    with pytest.raises(QueryError):
        make()  # type: ignore[operator]


def test_too_deep_nesting_raises_a_query_error() -> None:
    where: dict[str, object] = {"a": 1}
    for _ in range(60):
        where = {"or": [where, {"and": []}]}
    with pytest.raises(QueryError, match="nested"):
        Filter.of(where)
    deep = F("a").exists()
    for _ in range(600):
        deep = (deep & F("b").exists()) | F("c").exists()
    with pytest.raises(QueryError, match="nested"):
        Filter.of(deep)


def test_python_and_or_with_filters_raise_a_type_error() -> None:
    with pytest.raises(TypeError, match="parentheses"):
        (F("a") == 1) and (F("b") == 2)
    with pytest.raises(TypeError, match="parentheses"):
        2019 < F("year") < 2021  # noqa: B015
    with pytest.raises(TypeError):
        F("a") == 1 & F("b") == 2  # noqa: B015

"""The filter language: operators, its two forms as plain data, SQL, and invalid filters."""

import json
import operator
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import Document, F, Filter, Pipeline
from rag.errors import QueryError
from rag.filters import MAX_COMPARISONS, MAX_NESTING_DEPTH, All, AnyOf
from rag.stores.sqlite.filter_sql import filter_to_sql, register_filter_functions

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
        (F("year") == "2019", "old"),
        (F("year") == "2019.0", "old"),
        (F("year") == "02019", "old"),
        (F("year") == "2e3", ""),
        (F("Year") == 2019, "old"),
        (F("year") > "2020", "new"),
        (F("year") > "x", ""),
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
    ("where", "expected"),
    [
        ({"year": {"$eq": 2019}}, F("year") == 2019),
        ({"year": {"$ne": 2019}}, F("year") != 2019),
        ({"year": {"$gt": 2019}}, F("year") > 2019),
        ({"year": {"$gte": 2019}}, F("year") >= 2019),
        ({"year": {"$lt": 2019}}, F("year") < 2019),
        ({"year": {"$lte": 2019}}, F("year") <= 2019),
        ({"lang": {"$in": ["en", "de"]}}, F("lang").in_(["en", "de"])),
        ({"lang": {"$nin": ["en", "de"]}}, F("lang").not_in(["en", "de"])),
        ({"lang": {"$exists": True}}, F("lang").exists()),
        ({"lang": {"$exists": False}}, ~F("lang").exists()),
        ({"year": {"$not": {"$gte": 2019}}}, ~(F("year") >= 2019)),
        ({"year": {"$gte": 2019, "$lt": 2021}}, (F("year") >= 2019) & (F("year") < 2021)),
        ({"year": {"$gte": 2019}, "lang": "en"}, (F("year") >= 2019) & (F("lang") == "en")),
        ({"$and": [{"a": 1}, {"b": {"$gt": 2}}]}, (F("a") == 1) & (F("b") > 2)),
        ({"$or": [{"a": 1}, {"b": [2, 3]}]}, (F("a") == 1) | F("b").in_([2, 3])),
        ({"$or": [{"a": 1}, F("b") > 2]}, (F("a") == 1) | (F("b") > 2)),
        ({"$not": {"a": 1}}, F("a") != 1),
        ({"$and": []}, All(())),
        ({"$or": []}, AnyOf(())),
        ({"and": {"$gt": 1}}, F("and") > 1),
        ({"field": "$x", "op": "==", "value": "$gte"}, F("$x") == "$gte"),
        (
            {"$or": [{"a": 1}, {"b": 2}], "c": {"$lt": 3}},
            All(((F("a") == 1) | (F("b") == 2), F("c") < 3)),
        ),
    ],
)
def test_operators_of_chroma_and_langchain(where: dict[str, Any], expected: Filter) -> None:
    assert Filter.of(where) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"year": {"$between": [1, 2]}}, r"'year' has no operator '\$between'; operators: \$eq"),
        ({"year": {"$gte": 1, "lt": 2}}, "'year' has no operator 'lt'"),
        ({"year": {"gte": 1}}, "'year' has no operator 'gte'"),
        ({"year": {1: 2}}, "'year' has no operator 1"),
        ({"year": {"$and": [1]}}, r"'year' has no operator '\$and'"),
        ({"$nor": [{"a": 1}]}, r"'\$nor' does not combine filters; \$and, \$or, \$not do$"),
        ({"$gte": 3}, r"'\$gte' does not combine filters.*write \{FIELD: \{'\$gte'"),
        ({"field": "a", "op": "$gte", "value": 1}, r"no such operator: '\$gte'"),
        ({"year": {}}, "'year' is compared with nothing"),
        ({"year": {"$exists": 1}}, r"'year' \$exists needs true or false, not 1"),
        ({"year": {"$not": 3}}, r"'year' \$not needs a mapping"),
        ({"year": {"$in": "abc"}}, "'year' in needs a list"),
        ({"year": {"$in": {"a": 1}}}, "'year' in needs a list"),
        ({"year": {"$eq": [1]}}, "cannot compare 'year'"),
        ({"year": {"$gt": True}}, "true and false have no order"),
        ({"$and": {"a": 1}}, r"\$and needs a list of filters"),
        ({"$or": [1]}, r"\$or needs a list of filters"),
        ({"$not": [{"a": 1}]}, r"\$not needs a filter"),
        ({"and": [{"a": {"$gt": 1}}]}, r"'and' and '\$gt' cannot be mixed"),
        ({"not": {"$or": []}}, r"'not' and '\$or' cannot be mixed"),
        ({"$not": {"field": "a", "op": "exists"}}, r"'\$not' and 'op' cannot be mixed"),
        ({"$and": [{"a": {"$gt": 1}}, {"or": [{"a": 1}]}]}, r"'\$and' and 'or' cannot be mixed"),
        (
            {"or": [{"field": "a", "op": "exists"}, {"b": {"$ne": 1}}]},
            r"'or' and '\$ne' cannot be mixed",
        ),
    ],
)
def test_unknown_operators_and_mixed_forms_are_named(where: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Filter.of(where)


def test_depth_of_both_forms_is_limited() -> None:
    def nest(levels: int) -> dict[str, Any]:
        operators: dict[str, Any] = {"$gt": 1}
        for _ in range(levels):
            operators = {"$not": operators}
        return {"a": operators}

    assert isinstance(Filter.of(nest(MAX_NESTING_DEPTH - 1)), Filter)
    with pytest.raises(QueryError, match="nested"):
        Filter.of(nest(MAX_NESTING_DEPTH))
    where: dict[str, Any] = {"a": 1}
    for _ in range(MAX_NESTING_DEPTH + 1):
        where = {"$and": [where]}
    with pytest.raises(QueryError, match="nested"):
        Filter.of(where)


# -- both forms and SQL select the same documents -----------------------------------------


class BothForms(NamedTuple):
    """A filter, and the same filter as plain data with the operators of Chroma."""

    where: Filter
    data: dict[str, Any]


FIELDS = st.sampled_from(["x", "X", "y", "a.b", "uri", "Uri", "日本", "é", "E\u0301"])
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([2**63 - 1, 2**53 + 1, 0.0, 1.0, 1.5, -2.0, 1e300, 1 / 3]),
    st.sampled_from(["", "1", "true", "a", "ab", "Ä", "A\u0308", "u1", "a\0b", "$gt", "\u212a"]),
    st.sampled_from(["01", "1.50", "-2", "1e300", "TRUE", "9007199254740993", "2025", 2025]),
    st.sampled_from(["2025-03", "2025-03-05", "2025-03-05 06:00", "2025-03-04T23:30:00-08:00"]),
    st.sampled_from(["2025-03-05T07:30Z", "2025-13-01", "12:30", "9:30:00.5", "0001-01-01T00+14"]),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat(" ")),
    st.decimals(-99, 99, places=2).map(str),
)
ORDERED = SCALARS.filter(lambda value: not isinstance(value, bool))
LISTS = st.lists(SCALARS, max_size=3)
METADATA = st.dictionaries(FIELDS, st.one_of(SCALARS, LISTS), max_size=4)
COMPARISONS = st.one_of(
    st.builds(lambda f, v: BothForms(F(f) == v, {f: v}), FIELDS, SCALARS),
    st.builds(lambda f, v: BothForms(F(f).in_(v), {f: v}), FIELDS, LISTS),
    st.builds(lambda f, v: BothForms(F(f) == v, {f: {"$eq": v}}), FIELDS, SCALARS),
    st.builds(lambda f, v: BothForms(F(f) != v, {f: {"$ne": v}}), FIELDS, SCALARS),
    st.builds(lambda f, v: BothForms(F(f) > v, {f: {"$gt": v}}), FIELDS, ORDERED),
    st.builds(lambda f, v: BothForms(F(f) >= v, {f: {"$gte": v}}), FIELDS, ORDERED),
    st.builds(lambda f, v: BothForms(F(f) < v, {f: {"$lt": v}}), FIELDS, ORDERED),
    st.builds(lambda f, v: BothForms(F(f) <= v, {f: {"$lte": v}}), FIELDS, ORDERED),
    st.builds(lambda f, v: BothForms(F(f).in_(v), {f: {"$in": v}}), FIELDS, LISTS),
    st.builds(lambda f, v: BothForms(F(f).not_in(v), {f: {"$nin": v}}), FIELDS, LISTS),
    st.builds(lambda f: BothForms(F(f).exists(), {f: {"$exists": True}}), FIELDS),
    st.builds(lambda f: BothForms(~F(f).exists(), {f: {"$exists": False}}), FIELDS),
    st.builds(
        lambda f, low, v: BothForms(
            (F(f) >= low) & ~F(f).in_(v), {f: {"$gte": low, "$not": {"$in": v}}}
        ),
        FIELDS,
        ORDERED,
        LISTS,
    ),
)


def require_both(left: BothForms, right: BothForms) -> BothForms:
    """Require both conditions, by several keys of one mapping where that is possible."""
    data = {**left.data, **right.data}
    if left.data.keys() & right.data.keys():
        data = {"$and": [left.data, right.data]}
    return BothForms(left.where & right.where, data)


FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(require_both, inner, inner),
        st.builds(lambda a, b: BothForms(a[0] & b[0], {"$and": [a[1], b[1]]}), inner, inner),
        st.builds(lambda a, b: BothForms(a[0] | b[0], {"$or": [a[1], b[1]]}), inner, inner),
        st.builds(lambda a: BothForms(~a.where, {"$not": a.data}), inner),
    ),
    max_leaves=6,
)


def select_in_sql(documents: Sequence[Document], where: Filter) -> list[int]:
    """Return the indices of the documents that the SQL of a filter selects."""
    connection = sqlite3.connect(":memory:")
    register_filter_functions(connection)
    connection.execute("CREATE TABLE documents (number, uri, title, mime, metadata)")
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
        [
            (number, document.uri, document.title, document.mime, json.dumps(document.metadata))
            for number, document in enumerate(documents)
        ],
    )
    condition, values = filter_to_sql(where)
    rows = connection.execute(
        f"SELECT number FROM documents d WHERE {condition} ORDER BY number", values
    ).fetchall()
    connection.close()
    return [number for (number,) in rows]


@given(st.lists(METADATA, min_size=1, max_size=6), FILTERS)
@settings(max_examples=400)
def test_both_forms_and_their_sql_select_the_same_documents(
    metadata: list[dict[str, Any]], filters: BothForms
) -> None:
    documents = [
        Document.model_validate({"uri": f"u{i}", "text": "t", "metadata": fields})
        for i, fields in enumerate(metadata)
    ]
    expected = [i for i, document in enumerate(documents) if filters.where.matches(document)]
    data = json.loads(json.dumps(filters.data))
    for where in (Filter.of(data), Filter.of(filters.where.to_json())):
        assert [i for i, document in enumerate(documents) if where.matches(document)] == expected
        assert select_in_sql(documents, where) == expected


# -- comparison with Chroma ---------------------------------------------------------------

CHROMA_METADATA: list[dict[str, Any]] = [
    {},
    *[{"x": value} for value in (1, 2, 1.0, 1.5, -2, "a", True, False)],
    *[{"y": value} for value in (1, "a", True)],
    {"x": 1, "y": 2},
    {"x": "a", "y": 1.5},
    {"x": True, "y": "a"},
]
CHROMA_SCALARS = st.sampled_from([1, 2, 1.0, -2, "a", True, False])
CHROMA_NUMBERS = st.sampled_from([1, 2, 1.0, -2])
CHROMA_LISTS = st.one_of(
    st.lists(st.sampled_from(options), min_size=1, max_size=3)
    for options in ([1, 2, -2], [1.0, 2.0], ["b", "a"], [True, False])
)
CHROMA_COMPARISONS = st.one_of(
    st.builds(lambda f, v: {f: v}, st.sampled_from("xy"), CHROMA_SCALARS),
    st.builds(
        lambda f, op, v: {f: {op: v}},
        st.sampled_from("xy"),
        st.sampled_from(["$eq", "$ne"]),
        CHROMA_SCALARS,
    ),
    st.builds(
        lambda f, op, v: {f: {op: v}},
        st.sampled_from("xy"),
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        CHROMA_NUMBERS,
    ),
    st.builds(
        lambda f, op, v: {f: {op: v}},
        st.sampled_from("xy"),
        st.sampled_from(["$in", "$nin"]),
        CHROMA_LISTS,
    ),
)
CHROMA_FILTERS = st.recursive(
    CHROMA_COMPARISONS,
    lambda inner: st.builds(
        lambda op, operands: {op: operands},
        st.sampled_from(["$and", "$or"]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def chroma_collection() -> Iterator[Any]:
    import chromadb

    client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection("filters", embedding_function=None)
    collection.add(
        ids=[str(i) for i in range(len(CHROMA_METADATA))],
        embeddings=[[1.0]] * len(CHROMA_METADATA),
        metadatas=[{"id": 1, **fields} for fields in CHROMA_METADATA],
    )
    yield collection
    client.delete_collection("filters")


@given(where=CHROMA_FILTERS)
@settings(max_examples=200, deadline=None)
def test_filters_that_chroma_accepts_select_the_same_documents(
    chroma_collection: Any, where: dict[str, Any]
) -> None:
    condition = Filter.of(where)
    selected_ids = [
        str(i)
        for i, fields in enumerate(CHROMA_METADATA)
        if condition.matches(Document(uri="u", text="t", metadata=fields))
    ]
    assert sorted(chroma_collection.get(where=where)["ids"], key=int) == selected_ids


@pytest.mark.parametrize(
    ("value", "operators", "in_chroma", "here"),
    [
        ([1, 2], {"$eq": 1}, False, True),
        ([1, 2], {"$ne": 1}, True, False),
        ([1, 2], {"$nin": [1]}, True, False),
        ([1, 2], {"$ne": 3}, True, True),
        (1, {"$eq": 1.5}, True, False),  # Chroma drops the fraction
        (1, {"$gte": 1.5}, True, False),
        ("1", {"$eq": 1}, False, True),
        (True, {"$eq": "true"}, False, True),
    ],
)
def test_differences_to_chroma_are_the_documented_ones(
    chroma_collection: Any, value: Any, operators: dict[str, Any], in_chroma: bool, here: bool
) -> None:
    chroma_collection.upsert(ids=["new"], embeddings=[[1.0]], metadatas=[{"z": value}])
    selected_ids = chroma_collection.get(where={"z": operators})["ids"]
    chroma_collection.delete(ids=["new"])
    assert ("new" in selected_ids) is in_chroma
    document = Document(uri="u", text="t", metadata={"z": value})
    assert Filter.of({"z": operators}).matches(document) is here


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


def test_more_comparisons_than_a_store_takes_raise_a_query_error(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    most = {"$or": [{f"f{i}": i} for i in range(MAX_COMPARISONS)]}
    pipeline.search("battery", where=Filter.of(most))
    for where in ({"$and": [most, {"x": 1}]}, {f"f{i}": i for i in range(30_000)}):
        with pytest.raises(QueryError, match=r"10,000 comparisons at most; use in_"):
            pipeline.search("battery", where=where)
    Filter.of({"uri": {"$in": [str(i) for i in range(30_000)]}})


def test_many_paths_are_read_in_linear_time() -> None:
    class Counted(str):
        comparisons = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Counted.comparisons += 1
            return str.__eq__(self, other)

    Filter.of({"uri": {"$in": [Counted(f"u{i}") for i in range(2_000)]}})
    assert Counted.comparisons < 50_000


def test_paths_of_clients_are_no_paths(tmp_path: Path) -> None:
    path = str(tmp_path / "a.md")
    assert Filter.of({"uri": path}) != Filter.of({"uri": path}, paths=False)
    assert Filter.of({"uri": path}, paths=False).to_json()["value"] == path
    assert Filter.of({"uri": path}).to_json()["op"] == "in"


def test_python_and_or_with_filters_raise_a_type_error() -> None:
    with pytest.raises(TypeError, match="parentheses"):
        (F("a") == 1) and (F("b") == 2)
    with pytest.raises(TypeError, match="parentheses"):
        2019 < F("year") < 2021  # noqa: B015
    with pytest.raises(TypeError):
        F("a") == 1 & F("b") == 2  # noqa: B015


PYTHON_OPERATORS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq"}


# -- meanings of texts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "where", "matches"),
    [
        ("2021", F("x") == 2021, True),
        ("2021", F("x") >= 2020, True),
        ("2021.0", F("x") == 2021, True),
        ("02021", F("x") == 2021, False),
        ("+2021", F("x") == 2021, False),
        ("2021", F("x") < "3", True),  # two strings
        ("10", F("x") < "9", True),
        ("1.10", F("x") == "1.1", False),
        (1.1, F("x") == "1.10", True),
        (True, F("x") == "True", True),
        ("TRUE", F("x") == True, True),  # noqa: E712
        ("TRUE", F("x") == "true", False),
        ("1", F("x") == True, False),  # noqa: E712
        ("A\u0308", F("x") == "\u00c4", True),
        ("A\u0308b", F("x").startswith("\u00c4"), True),
        ("zA\u0308", F("x").contains("\u00c4"), True),
        ("2025-03-04T23:30:00-08:00", F("x") >= "2025-03-05T06:00:00+00:00", True),
        ("2025-03-04T23:30:00-08:00", F("x") > "2025-03-05T07:30:00Z", False),
        ("2025-03-04T23:30:00", F("x") == "2025-03-04T23:30:00+00:00", True),
        ("2025-03-04T23:30:00-08:00", F("x") == "2025-03-05", True),
        ("2025-03-04T23:30:00-08:00", F("x") == "2025-03-04", False),
        ("2025-03-05", F("x") > "2025-03-05T07:30:00Z", False),
        ("2025-03-05", F("x") >= "2025-03-05T07:30:00Z", True),
        ("2025-03-05T07:30:00.000001Z", F("x") > "2025-03-05T07:30:00Z", True),
        ("2025-03-31", F("x") <= "2025-03", True),
        ("2025-03-31", F("x") > "2025-03", False),
        ("2025-03-31", F("x") == 2025, True),
        ("2025-03-31", F("x") > 2024, True),
        ("2025-03-31", F("x") > 12, False),
        ("unknown", F("x") >= "2025-03-05", False),
        ("9:30", F("x") < "12:30", True),
        ("09:30:00", F("x") == "9:30", True),
        ("9:30", F("x") < "2025-03-05", False),
        ("2025-02-30", F("x") == "2025-02", False),
    ],
)
def test_meanings_of_texts_are_compared(value: Any, where: Filter, matches: bool) -> None:
    document = Document(uri="u", text="t", metadata={"X": value})
    assert where.matches(document) is matches
    assert select_in_sql([document], where) == [0] * matches


@given(
    st.datetimes(timezones=st.timezones()),
    st.datetimes(timezones=st.timezones()),
    st.sampled_from("T "),
)
def test_date_times_compare_as_those_of_python(left: Any, right: Any, separator: str) -> None:
    document = Document(uri="u", text="t", metadata={"x": left.isoformat(separator)})
    try:
        left.astimezone(UTC), right.astimezone(UTC)
    except OverflowError:
        return
    if any(moment.utcoffset().total_seconds() % 60 for moment in (left, right)):
        return  # an offset of the time before standard time, which ISO 8601 cannot express
    for op in ("<", "<=", ">", ">=", "=="):
        where = Filter.of({"field": "x", "op": op, "value": right})
        # Python compares the clocks, not the moments, of two date-times in one zone.
        expected = getattr(operator, PYTHON_OPERATORS[op])(
            left.astimezone(UTC), right.astimezone(UTC)
        )
        assert where.matches(document) is expected


def test_uri_can_be_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my docs"
    a = Document(uri=(folder / "a.md").as_uri(), text="t")
    part = Document(uri=(folder / "a.zip").as_uri() + "!/b%20c.txt", text="t")
    composed = Document(uri=(tmp_path / "\u00c4.md").as_uri(), text="t")
    decomposed = Document(uri=(tmp_path / "A\u0308.md").as_uri(), text="t")
    documents = [a, part, composed, decomposed]
    for where, indices in [
        (F("uri") == "my docs/a.md", [0]),
        (F("URI") == "./my docs/a.md", [0]),
        (F("uri") == str(folder / "a.md"), [0]),
        (F("uri").in_(["my docs/a.md", "my docs/a.zip!/b c.txt"]), [0, 1]),
        (F("uri") != "my docs/a.md", [1, 2, 3]),
        (F("uri").startswith("my docs/"), [0, 1]),
        (F("uri").contains("y docs/a."), [0, 1]),
        (F("uri") == "\u00c4.md", [2, 3]),
        (F("uri") == a.uri, [0]),
        (F("uri") == "a.md", []),
        (Filter.of({"uri": {"$in": ["my docs/a.md"]}}), [0]),
    ]:
        assert [i for i, document in enumerate(documents) if where.matches(document)] == indices
        assert select_in_sql(documents, where) == indices
        assert select_in_sql(documents, Filter.of(where.to_json())) == indices


def test_fields_of_a_document_hide_only_their_exact_name() -> None:
    document = Document(uri="u", text="t", title="A", metadata={"title": "B", "Title": "C"})
    assert (F("title") == "A").matches(document)
    assert not (F("title") == "C").matches(document)
    for value in ("A", "B", "C"):
        assert (F("Title") == value).matches(document)
        assert select_in_sql([document], F("Title") == value) == [0]

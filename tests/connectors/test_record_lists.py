"""Lists of records in JSON, YAML and XML: found at any depth, named, and separate from each other."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.parsers.auto import AutoParser
from connectors.parsers.record_lists import (
    WrittenFloat,
    find_name_field,
    flatten_record,
    has_records,
    load_json,
)
from connectors.parsers.records import Fields, JsonLinesParser
from connectors.parsers.structured import JsonParser, XmlParser, YamlParser
from rag import Document
from tests.connectors.parsing import list_marked_texts, parse, parse_parts

SERVERS = [
    {"ports": [80, 443], "owner": {"lead": f"Lead{i}", "team": "core"}, "name": f"s{i}"}
    for i in range(30)
]
LINES = [f"name: s{i}; ports: 80, 443; owner.lead: Lead{i}; owner.team: core" for i in range(30)]


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (SERVERS, None),
        ({"servers": SERVERS}, ("servers",)),
        ({"data": {"items": {"servers": SERVERS}}}, ("data", "items", "servers")),
        ({"data": [[SERVERS]]}, ("data",)),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_records_are_found_at_any_depth(data: Any, path: tuple[str, ...] | None, name: str) -> None:
    document = parse(json.dumps(data), name)
    assert list_marked_texts(document, "row") == list(enumerate(LINES, start=1))
    for line in LINES:
        assert f"\n\n{line}\n" in f"\n\n{document.text}"
    paths = [value for value, _ in list_marked_texts(document, "heading")]
    assert (path in paths) if path else not paths


def test_values_beside_a_list_stay_and_several_lists_are_separate() -> None:
    text = """{"made": "2024-05-01", "meta": {"rate": 1.10, "by": null, "x": {"y": []}},
    "users": [{"id": 1, "user": "ann"}, {"id": 2, "user": "bob"}], "pumps": [{"sku": "P-1"}],
    "plain": [1, 2.50, true], "grid": [[1, 2], [3, 4]]}"""
    document = parse(text, "a.json")
    assert document.text.split("\n\n") == [
        "made: 2024-05-01",
        "meta.rate: 1.10",
        *("users", "id: 1; user: ann", "id: 2; user: bob"),
        *("pumps", "sku: P-1"),
        "plain: 1, 2.50, true",
        "grid: [1, 2], [3, 4]\n",
    ]
    assert [value for value, _ in list_marked_texts(document, "row")] == [1, 2, 1]
    headings = list_marked_texts(document, "heading")
    assert [value for value, _ in headings] == [
        (name,) for name in ("made", "meta", "users", "pumps", "plain", "grid")
    ]
    assert all(text.startswith(value[0]) for value, text in headings)  # type: ignore[index]


def test_long_record_is_followed_by_its_own_records() -> None:
    regions = [
        {"name": name, "sites": [{"site": f"{name}-{i}", "lead": "Ann"} for i in range(20)]}
        for name in ("EU", "US")
    ]
    document = parse(json.dumps({"regions": regions}), "a.json")
    rows = [text for _, text in list_marked_texts(document, "row")]
    assert rows[:3] == [
        "name: EU",
        "site: EU-0; (regions): EU; lead: Ann",
        "site: EU-1; (regions): EU; lead: Ann",
    ]
    assert len(rows) == 42
    paths = [value for value, _ in list_marked_texts(document, "heading")]
    assert paths == [("regions",), ("regions", "EU: sites"), ("regions",), ("regions", "US: sites")]


def test_long_values_have_a_line_each() -> None:
    text = "A sentence of words. " * 40
    document = parse(json.dumps({"a": [{"text": text + "\n\nEnd.", "title": "T"}]}), "a.json")
    ((_, row),) = list_marked_texts(document, "row")
    assert row == f"title: T\ntext: {text}\nEnd."


@pytest.mark.parametrize(
    ("record", "name_field"),
    [
        ({"id": 7, "Name": "x"}, "Name"),
        ({"id": 7, "title": "x"}, "title"),
        ({"note": "x", "code": "C1"}, "code"),
        ({"n": 1, "note": "x" * 101, "where": "y"}, "where"),
        ({"name": "", "key": "k"}, "key"),
        ({"name": True, "n": 2}, None),
    ],
)
def test_name_of_a_record_is_first(record: dict[str, Any], name_field: str | None) -> None:
    assert find_name_field(record) == name_field
    if name_field:
        assert next(iter(flatten_record(record))) == name_field


def test_numbers_and_repeated_names_are_as_written() -> None:
    text = '[{"a": 1.10, "a": 1e5, "b": -0.0, "c": 12345678901234567890123, "d": NaN}]'
    document = parse(text, "a.json")
    assert document.text == "a: 1.10; a (2): 1e5; b: -0.0; c: 12345678901234567890123; d: NaN\n"
    assert isinstance(load_json("1.10"), WrittenFloat)
    assert load_json("1.10") == 1.1


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
RECORDS = st.lists(st.dictionaries(st.text(min_size=1, max_size=5), DATA, max_size=4), min_size=1)


@given(st.dictionaries(st.text(max_size=5), DATA | RECORDS, max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_text_of_the_data_is_in_the_document(data: dict[str, Any]) -> None:
    if not has_records(data):
        return
    document = parse(json.dumps(data), "a.json")
    words = "".join(document.text.split())
    stack: list[Any] = [data]
    while stack:
        value = stack.pop()
        stack += value.values() if isinstance(value, dict) else []
        stack += value if isinstance(value, list) else []
        if isinstance(value, str) and value.isalnum():
            assert value in words
    spans = sorted((mark.start, mark.end) for mark in document.marks if mark.kind == "row")
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
    assert all("\n\n" not in document.text[start:end] for start, end in spans)


def test_records_become_documents_of_their_own() -> None:
    fields = Fields(text="{name} at {owner.lead}", title="name", key="id", metadata=("n", "day"))
    records = [
        {"id": i, "name": f"s{i}", "owner": {"lead": "Ann"}, "n": 1.5, "day": "2024-01-02"}
        for i in range(2)
    ]
    parser = AutoParser(
        json_data=JsonParser(per="row", fields=fields), yaml=YamlParser(per="row", fields=fields)
    )
    for name in ("a.json", "a.yaml"):
        parts = parse_parts(json.dumps({"x": {"servers": records}}).encode(), name, parser)
        assert set(parts) == {"!/0", "!/1"}
        document = parts["!/1"]
        assert isinstance(document, Document)
        assert (document.text, document.title) == ("s1 at Ann", "s1")
        assert document.metadata == {"n": 1.5, "day": "2024-01-02"}
        assert type(document.metadata["n"]) is float
        assert document.location_at(0) == {"row": 2}


def test_records_of_several_lists_are_numbered_through() -> None:
    data = b'{"a": [{"x": 1}, {"x": 2}], "b": [{"y": 3}]}'
    parts = parse_parts(data, "a.json", AutoParser(json_data=JsonParser(per="row")))
    assert {uri: part.text for uri, part in parts.items()} == {
        "!/1": "x: 1",
        "!/2": "x: 2",
        "!/3": "y: 3",
    }
    parts = parse_parts(b'{"a": [1]}', "a.json", AutoParser(json_data=JsonParser(per="row")))
    assert set(parts) == {""}


def test_json_lines_with_nested_objects() -> None:
    data = '{"id": 1, "tags": [{"t": "x"}, {"t": "y"}], "name": "A"}\nno json\n'
    document = parse(data, "a.jsonl")
    assert list_marked_texts(document, "row") == [
        (1, "name: A; id: 1; tags.1.t: x; tags.2.t: y"),
        (2, "value: no json"),
    ]
    one = JsonLinesParser().parse(b'{"id": 1, "rows": [{"a": 3}]}', uri="file:///a.jsonl")
    assert one.text == "id: 1; rows.1.a: 3\n\n"


# -- YAML ------------------------------------------------------------------------------------


def test_yaml_comments_and_written_values_stay_with_records() -> None:
    text = """# Servers
servers:
  - name: s1   # in Linz
    version: 1.10
    owner: {lead: Ann, on: no}
  # the new one
  - name: s2
    note: |
      # no comment
    id: 0123
# the end
"""
    document = parse(text, "a.yaml")
    assert document.text.split("\n\n") == [
        "servers",
        "# Servers",
        "name: s1; version: 1.10; owner.lead: Ann; owner.on: no",
        "# in Linz\n# the new one",
        "name: s2; note: # no comment; id: 0123",
        "# the end\n",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "# c\na: 1\nlist: [x, y]\n",
        "a:\n  - {name: only}  # c\n",
        "a:\n  - {x: 1}\n  - {y: 1}\n",
        "a: &a [1]\nb: *a\n",
        "a: [\n",
    ],
)
def test_yaml_without_lists_of_records_is_as_written(text: str) -> None:
    assert parse(text, "a.yaml").text == text


def test_yaml_aliases_are_replaced_within_a_limit() -> None:
    text = "base: &b {team: core}\nlist:\n- {name: x, <<: *b}\n- {name: y, <<: *b, team: own}\n"
    rows = [row for _, row in list_marked_texts(parse(text, "a.yaml"), "row")]
    assert rows == ["name: x; team: core", "name: y; team: own"]
    bomb = "a0: &a0 [{x: 1}, {x: 2}]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    assert parse(bomb, "a.yaml").text == bomb
    cycle = "a: &a\n- {x: 1, y: *a}\n- {x: 2}\n"
    assert parse(cycle, "a.yaml").text == cycle


# -- XML -------------------------------------------------------------------------------------


def test_repeated_xml_elements_are_records() -> None:
    text = """<?xml version="1.0"?><config><updated>2024</updated><servers><!-- no -->
    <server id="1"><owner><lead>Ann</lead></owner><name>s1</name><port>80</port><port>443</port>
    <price unit="EUR">4.50</price></server>
    <server id="2"><name>s2</name></server></servers>
    <pumps><pump id="1" depot="x"/><pump id="2" depot="y"/></pumps></config>"""
    document = parse(text, "a.xml")
    assert list_marked_texts(document, "row") == [
        (1, "name: s1; id: 1; owner.lead: Ann; port: 80, 443; price: 4.50; price.unit: EUR"),
        (2, "name: s2; id: 2"),
        (1, "id: 1; depot: x"),
        (2, "id: 2; depot: y"),
    ]
    assert "updated: 2024\n" in document.text and "servers\n\nname: s1" in document.text
    parts = parse_parts(text.encode(), "a.xml", AutoParser(xml=XmlParser(per="row")))
    assert parts["!/2"].text == "name: s2\nid: 2"
    assert len(parts) == 4


@pytest.mark.parametrize(
    "body",
    [
        "<section><title>A</title><p>x</p></section><section><title>B</title><p>y</p></section>",
        "<item><name>A</name>tail</item><item><name>B</name></item>",
        "<item><name>A <b>x</b> y</name></item><item><name>B</name></item>",
        "<item>A</item><item>B</item>",
        "<item><a>1</a></item><item><b>1</b></item>",
        "<item><a>1</a></item>",
    ],
)
def test_xml_texts_are_no_records(body: str) -> None:
    assert not list_marked_texts(parse(f"<doc>{body}</doc>", "a.xml"), "row")


# -- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [30, 200, 900])
def test_deeply_nested_data_are_readable_or_as_written(depth: int) -> None:
    inner = '{"a":' * depth + '"deepest"' + "}" * depth
    for text in (f'[{{"name": "x", "b": {inner}}}]', f'{{"l": [{{"x": 1}}], "b": {inner}}}'):
        assert "deepest" in parse(text, "a.json").text
    parts = parse_parts(
        f'[{{"name": "x", "b": {inner}}}]'.encode(),
        "a.json",
        AutoParser(json_data=JsonParser(per="row")),
    )
    assert len(parts) == 1
    nested = '[{"a":' * depth + '"deepest"' + "}]" * depth
    assert "deepest" in parse(nested, "a.json").text
    assert "deepest" in parse(nested, "a.yaml").text


def test_list_of_one_record_beside_a_longer_list_has_a_row_of_its_own() -> None:
    text = (
        "weekly:\n  monday:\n    - dish: Leek soup\n      price: 6.20\n    - dish: Pasta\n"
        "      price: 8\n  tuesday:\n    - dish: Leek soup\n      price: 7.10\n"
    )
    document = parse(text, "menu.yaml")
    assert "monday\n\ndish: Leek soup; price: 6.20\n\ndish: Pasta" in document.text
    offset = document.text.index("dish: Leek soup; price: 7.10")
    headings = [
        m.value for m in document.marks if m.kind == "heading" and m.start <= offset < m.end
    ]
    assert headings == [("weekly", "tuesday")]
    assert document.location_at(offset) == {"row": 1}


NESTED = {
    "sales": {"head": "Ann", "staff": [{"name": "Bob", "age": 30}, {"name": "Cy", "age": 31}]},
    "legal": {"head": "Dee"},
}
NESTED["sales"]["budget"] = 5000
COMPANY = {"name": "Acme", "departments": NESTED, "founded": 1999}


def find_path(document: Document, text: str) -> tuple[str, ...]:
    start = document.text.index(text)
    paths = [m.value for m in document.marks if m.kind == "heading" and m.start <= start < m.end]
    return paths[-1] if paths and isinstance(paths[-1], tuple) else ()


@pytest.mark.parametrize("name", ["company.json", "company.yaml"])
def test_values_after_an_inner_list_belong_to_the_section_around_it(name: str) -> None:
    document = parse(json.dumps(COMPANY).encode(), name)
    assert find_path(document, "budget: 5000") == ("departments", "sales")
    assert find_path(document, "legal.head: Dee") == ("departments",)
    assert find_path(document, "founded: 1999") == ("founded",)
    assert find_path(document, "name: Bob") == ("departments", "sales", "staff")


def test_values_of_xml_have_the_name_of_their_group() -> None:
    room = "<room><no>{0}</no><size>2{0}</size></room>"
    data = (
        "<r><site><name>HQ</name><rooms>"
        + "".join(map(room.format, (1, 2)))
        + "</rooms><address>12 Quay St</address></site><plant><name>West</name>"
        "<address>7 Hill Rd</address></plant><note>Seen.</note></r>"
    )
    document = parse(data.encode(), "sites.xml")
    assert find_path(document, "name: HQ") == ("site",)
    assert find_path(document, "12 Quay St") == ("site",)
    assert find_path(document, "7 Hill Rd") == ("plant",)
    assert find_path(document, "note: Seen.") == ("note",)
    assert document.title == "sites.xml"


def test_the_unit_of_a_value_in_running_text_is_kept() -> None:
    text = parse(b"<doc><p>It is rated <val unit='A'>16</val>.</p><p>Ok.</p></doc>", "a.xml").text
    assert "It is rated 16 A." in text

"""`rag parse` and `rag stats` show identity terms; `rag ingest --metadata` sets metadata."""

from pathlib import Path

import pytest

from rag.cli.arguments import parse_metadata
from rag.errors import QueryError
from tests.cli.conftest import Rag, error_line


@pytest.fixture
def clients(folder: Path) -> Path:
    (folder / "acme").mkdir()
    text = "# Contract\n\nAcme GmbH rents the hall in Porto until 2031.\n"
    (folder / "acme" / "contract_FY24.md").write_text(text)
    (folder / "acme" / "contract_FY24.md.meta.yaml").write_text(
        "title: Hall of Acme\nparty: Acme\n"
    )
    return folder


def test_parse_prints_identity_terms_and_the_side_file(rag: Rag, clients: Path) -> None:
    out = rag("parse", "docs/acme/contract_FY24.md").out
    assert "title: Hall of Acme" in out
    assert "party: Acme" in out
    assert "identity (title): Hall of Acme" in out
    assert "identity (file): contract | FY24 | 2024" in out
    assert "identity (first_page): Acme GmbH | 2031 | Porto" in out
    assert "identity (folder)" not in out
    (document,) = rag("parse", "docs/acme/contract_FY24.md", "--json").json["documents"]
    assert document["identity"]["heading"] == ["Contract"]
    assert "identity (folder): acme" in rag("parse", "docs").out
    (clients / "acme" / "contract_FY24.md.meta.yaml").write_text("title: [")
    result = rag("parse", "docs/acme/contract_FY24.md")
    assert result.code == 3
    assert "contract_FY24.md.meta.yaml is not valid YAML" in result.err


def test_stats_lists_documents_with_their_rarest_names(rag: Rag, clients: Path) -> None:
    assert rag("ingest", "docs").code == 0
    out = rag("stats").out
    assert "documents, with the names and years that few of them have:" in out
    assert "docs/acme/contract_FY24.md: Hall of Acme | contract | FY24 | 2024 | acme" in out
    names = {entry["title"]: entry for entry in rag("stats", "--json").json["names"]}
    assert set(names) == {"Hall of Acme", "Kite 4 handbook", "notes.txt"}
    assert names["Hall of Acme"]["terms"][0] == {"term": "Hall of Acme", "idf": 1.099}


def test_stats_lists_twenty_documents(rag: Rag, folder: Path) -> None:
    for number in range(23):
        (folder / f"note{number}.txt").write_text(f"Note {number}.")
    assert rag("ingest", "docs").code == 0
    out = rag("stats").out
    assert out.count("docs/note") == 19
    assert "... and 5 more (--json lists all)" in out
    assert len(rag("stats", "--json").json["names"]) == 25


def test_metadata_option(rag: Rag, folder: Path) -> None:
    options = ("--metadata", "client=Acme", "--metadata", "year=2024", "--metadata", "draft=true")
    assert "2 added" in rag("ingest", "docs", *options).out
    for condition in ("client=Acme", "year>=2024", "draft=true"):
        assert rag("search", "kite", "--where", condition, "--json").json["hits"]
    assert "2 unchanged" in rag("ingest", "docs", *options).out
    assert "2 updated" in rag("ingest", "docs", "--metadata", "client=Globex").out
    assert rag("search", "kite", "--where", "client=Acme", "--json").json["hits"] == []
    assert "2 updated" in rag("ingest", "docs").out
    assert "only a single file" in error_line(rag("ingest", "docs", "--metadata", "title=x"))
    assert rag("ingest", "docs/notes.txt", "--metadata", "title=The flight").code == 0
    assert "The flight" in rag("stats").out


def test_metadata_values_have_types() -> None:
    settings = ["a=1", "b=2.5", "c=TRUE", "d=2024-05-01", "e=007", "f=1.10", "g=x=y", "h= z "]
    assert parse_metadata([*settings, "tag=a", "tag=2", "title=2024"]) == {
        **{"a": 1, "b": 2.5, "c": True, "d": "2024-05-01", "e": "007", "f": "1.10", "g": "x=y"},
        **{"h": "z", "tag": ["a", 2], "title": "2024"},
    }
    for wrong in (["a"], ["=x"], ["title=a", "title=b"]):
        with pytest.raises(QueryError, match="--metadata"):
            parse_metadata(wrong)

"""Identity terms: the names, years and dates that tell a document from others."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from connectors import Connector, Parser, Source
from rag import Document, Pipeline
from rag.ingestion.identity import extract_identity, rank_by_rarity
from rag.testing.samples import HOSTILE_TEXTS
from rag.text.names import find_dates, find_names, find_years, split_name
from rag.types import Mark

FILING = """\
Northwind Traders Inc. (NYSE: NWT)

Form 10-K for the fiscal year FY2023

The company sells tea. The office of Northwind Traders is in Seattle, and its auditor is Ada Byron.
Its management system meets ISO 9001. Contract QA-2024-17 covers 2023-24.
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BESTBUY_2023_10K", ["BESTBUY", "2023", "10K"]),
        ("annual-2024", ["annual", "2024"]),
        ("remoteWorkPolicy", ["remoteWorkPolicy", "remote", "Work", "Policy"]),
        ("report2024", ["report2024", "report", "2024"]),
        ("invoice17", ["invoice17", "invoice", "17"]),
        ("FY23 budget", ["FY23", "budget", "2023"]),
        ("23Q4", ["23Q4", "2023"]),
        ("Q32023", ["Q32023", "Q3", "2023"]),
        ("plan 2023-24", ["plan", "2023-24", "2023", "2024"]),
        ("20240131_minutes", ["minutes", "2024"]),
        ("form-10-K", ["form", "10", "K", "10-K"]),
        ("v1.2 notes", ["v1.2", "notes"]),
        ("", []),
        ("---", []),
    ],
)
def test_file_names_are_taken_apart(name: str, words: list[str]) -> None:
    assert split_name(name) == words


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("In 2023 and 1999.", ["2023", "1999"]),
        ("FY2023, FY24 and fy 98", ["2023", "2024", "1998"]),
        ("2023-24 and 2010\u20132014", ["2023", "2024", "2010", "2014"]),
        ("23Q4, Q4 '22, 4Q21, H1 2020", ["2023", "2022", "2021", "2020"]),
        ("2005-06-07", ["2005"]),
        ("$2000, 2,023, 1.2024, 20231, 2024%, room B2023", []),
        ("2023-17", []),
    ],
)
def test_years_have_four_digits(text: str, years: list[str]) -> None:
    assert find_years(text) == years


def test_dates_of_file_names() -> None:
    assert find_dates("20240131 31.12.2023 2024_02_05 2024-13-01") == [
        "2024-01-31",
        "2023-12-31",
        "2024-02-05",
    ]


def test_names_of_a_first_page() -> None:
    names = find_names(FILING, 40)
    assert names[:2] == ["NWT", "Northwind Traders Inc"]
    for name in ("Northwind Traders", "10-K", "Seattle", "Ada Byron", "ISO 9001"):
        assert name in names
    assert {"QA-2024-17", "2023", "2024"} <= set(names)
    assert not {"The", "Its", "Contract", "Form"} & set(names)
    assert find_names(FILING, 3) == names[:3]


@pytest.mark.parametrize(
    "text", [*HOSTILE_TEXTS.values(), "Aa " * 2_000, "20" * 3_000, "A-" * 3_000]
)
def test_every_text_has_names_in_little_time(text: str) -> None:
    start = time.perf_counter()
    assert len(find_names(text[:6_000], 40)) <= 40
    split_name(text)
    assert time.perf_counter() - start < 2


def test_names_of_other_scripts() -> None:
    text = "株式会社日立製作所が『白書』を2023年に発表した。 Договор с Иваном Петровым"
    assert {"株式会社日立製作所", "白書", "Иваном Петровым"} <= set(find_names(text, 40))


def test_terms_by_origin() -> None:
    document = Document(
        uri="file:///home/ann/docs/clients/north-wind/2024/annualReport_2024-02-03.pdf",
        text="x" * 2_500 + "\n" + FILING,
        title="Annual report FY23",
        metadata={"author": ("Ada Byron", "python-docx"), "created": "2024-01-02T10:00:00Z"},
        marks=(
            Mark(start=2_501, end=2_501 + len(FILING), kind="page", value=1),
            Mark(start=2_501, end=2_600, kind="heading", value=("Overview 2022", "Deep")),
        ),
    )
    identity = extract_identity(document, "file:///home/ann/docs")
    assert identity.pop("first_page")[0] == "NWT"
    assert identity == {
        "title": ("Annual report FY23", "2023"),
        "file": ("annualReport", "annual", "Report", "2024"),
        "folder": ("2024", "north wind", "north", "wind", "clients"),
        "date": ("2024-02-03", "2024-01-02", "2024"),
        "author": ("Ada Byron",),
        "heading": ("Overview 2022", "2022"),
    }


@pytest.mark.parametrize(
    ("uri", "scope", "folders"),
    [
        ("file:///home/ann/docs/a.txt", "file:///home/ann/docs", None),
        ("file:///home/ann/docs/a.txt", "file:///home/ann/docs/a.txt", None),
        ("file:///home/ann/docs/x/a.txt", "file:///home/ann/docs", ("x",)),
        ("file:///home/ann/docs/x/a.txt", "", ("x", "docs")),
        ("file:///Users/ann/a.txt", "", None),
        ("file:///home/ann/docs/b.zip!/in/c.txt", "file:///home/ann/docs", ("in", "b")),
        ("git+file:///home/ann/repo!/src/a.md", "git+file:///home/ann/repo!/", ("src",)),
        ("https://example.org/guides/setup/a.html", "https://example.org/", ("setup", "guides")),
        ("s3://bucket/p/q/r/s/a.txt", "s3://bucket/p/", ("s", "r", "q")),
        ("sqlite:///home/ann/x.db!/notes/7", "sqlite:///home/ann/x.db!/notes/", None),
        ("notes:kettle", "notes:", None),
        ("https://[broken/a", "", ("broken",)),
    ],
)
def test_folders_on_this_machine_are_those_below_the_scope(
    uri: str, scope: str, folders: tuple[str, ...] | None
) -> None:
    assert extract_identity(Document(uri=uri, text="x"), scope).get("folder") == folders


def test_file_name_is_no_title() -> None:
    document = Document(uri="file:///d/a%20b.txt", text="x", title="a b.txt")
    assert extract_identity(document) == {"file": ("a", "b"), "folder": ("d",)}


def test_own_terms_of_a_document_stay() -> None:
    document = Document(
        uri="a:b.txt", text="x", title="Kite 4", identity={"title": ("K4",), "ticker": ("KTE",)}
    )
    identity = extract_identity(document)
    assert identity["title"] == ("K4", "Kite 4")
    assert identity["ticker"] == ("KTE",)
    assert extract_identity(document.model_copy(update={"identity": identity})) == identity


def test_rare_terms_come_first() -> None:
    ranked = rank_by_rarity(
        {
            "a": {"file": ("report", "acme"), "title": ("Report", "2023")},
            "b": {"file": ("REPORT", "globex"), "title": ("Report", "2023")},
            "c": {"other": ("minutes",)},
            "d": {},
        },
        limit=2,
    )
    assert ranked == {
        "a": [("acme", 1.386), ("Report", 0.693)],
        "b": [("globex", 1.386), ("Report", 0.693)],
        "c": [("minutes", 1.386)],
        "d": [],
    }


class _NamingParser(Parser):
    """A parser of another package that finds identity terms itself."""

    name: ClassVar[str] = "naming"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        return Document(uri=uri, text=data.decode(), identity={"ticker": ("KTE",)})


class _Wiki(Connector):
    name: ClassVar[str] = "wiki"

    @property
    def scope(self) -> str:
        return "wiki://x/"

    def sources(self) -> Iterator[Source]:
        yield Source(uri="wiki://x/kites/Kite_4", version="1", read=lambda: b"About Kite 4.")


def test_documents_of_every_connector_get_identity(tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "index", processes=0, parser=_NamingParser()) as pipeline:
        pipeline.ingest(_Wiki())
        (identity,) = pipeline.open().document_store.identities().values()
    assert identity["ticker"] == ("KTE",)
    assert identity["file"] == ("Kite", "4")
    assert identity["folder"] == ("kites",)


def test_identity_is_the_same_after_another_ingest(tmp_path: Path, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "Kite4_2024.md").write_text("# Kite 4\n\nBuilt in Porto in 2024.\n")
    with Pipeline(index=tmp_path / "index", processes=0) as pipeline:
        pipeline.ingest(folder)
        before = pipeline.open().document_store.identities()
        assert before[(folder / "sub" / "Kite4_2024.md").as_uri()]["folder"] == ("sub",)
        assert not any(tmp_path.name in terms for i in before.values() for terms in i.values())
        assert pipeline.ingest(folder).unchanged == 3
        assert pipeline.open().document_store.identities() == before

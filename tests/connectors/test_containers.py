"""Archives and e-mail: each file in them becomes a document."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from rag.errors import NoText, ParseError
from tests.connectors import file_fixtures
from tests.connectors.parsing import parse, parse_parts
from tests.connectors.test_formats import UNITS, number_units

# -- archives ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [file_fixtures.make_zip, file_fixtures.make_tar])
@given(units=UNITS.map(number_units))
@settings(max_examples=10)
def test_each_file_of_an_archive_becomes_a_document(make: Callable, units: list[str]) -> None:
    parts = parse_parts(
        make({f"folder/{i}.md": f"# {u}".encode() for i, u in enumerate(units)}), "a.zip"
    )
    assert [part.text for part in parts.values()] == [f"# {unit}" for unit in units]
    for i, name in enumerate(parts):
        assert name == f"!/folder/{i}.md"
        assert parts[name].metadata["part_of"] == "file:///folder/a.zip"


def test_gzip_file_is_unpacked() -> None:
    parts = parse_parts(gzip.compress(b"# Title\n"), "a.md.gz")
    assert parts["!/a.md"].mime == "text/markdown"


def test_hidden_files_are_skipped_and_names_are_normalized() -> None:
    data = file_fixtures.make_zip(
        {".git/x": "a", "__MACOSX/b": "b", "../../up.txt": "c", "ü?.txt": "d"}
    )
    assert set(parse_parts(data, "a.zip")) == {"!/up.txt", "!/%C3%BC%3F.txt"}
    assert set(parse_parts(file_fixtures.make_tar({"./a.txt": b"x"}), "a.tar.gz")) == {"!/a.txt"}


def test_members_with_the_same_name_are_all_parsed() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.txt", "one")
        archive.writestr("a.txt", "two")
    assert [part.text for part in parse_parts(out.getvalue(), "a.zip").values()] == ["one", "two"]


def test_bad_member_does_not_affect_other_members() -> None:
    parts = parse_parts(
        file_fixtures.make_zip({"a.txt": "fine", "b.txt": b"", "c.bin": bytes(range(256))}), "a.zip"
    )
    assert parts["!/a.txt"].text == "fine"
    assert isinstance(parts["!/b.txt"].error, NoText)
    assert isinstance(parts["!/c.bin"].error, ParseError)


def test_empty_archive_fails_with_a_reason() -> None:
    with pytest.raises(NoText, match="contains no files"):
        parse_parts(file_fixtures.make_zip({}), "a.zip")


def test_nesting_of_archives_is_limited() -> None:
    data = b"text"
    for i in range(8):
        data = file_fixtures.make_zip({f"{i}.zip" if i else "a.txt": data})
    (part,) = parse_parts(data, "a.zip").values()
    assert "nested more than 4 deep" in str(part.error)


def test_truncated_zip_is_not_read_as_the_zip_inside_it() -> None:
    """The archive then ends with the end of a stored archive."""
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("in.txt", "nested")
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("a.txt", "one")
        archive.writestr("n.zip", inner.getvalue())
    for cut in (30, 60, 200):
        with pytest.raises(ParseError, match="damaged"):
            parse_parts(outer.getvalue()[:-cut], "a.zip")


def test_zip_with_a_member_called_mimetype_is_unpacked() -> None:
    parts = parse_parts(file_fixtures.make_zip({"mimetype": "x/y", "a.txt": "one"}), "a.zip")
    assert parts["!/a.txt"].text == "one"


def test_many_members_with_the_same_name_take_linear_time() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning):
        for _ in range(3_000):
            archive.writestr("a.txt", "one")
    parts = parse_parts(buffer.getvalue(), "a.zip")
    assert len(parts) == 3_000
    assert max(map(len, parts)) < 20


def test_generated_member_names_do_not_clash() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        for name in ("a.txt", "a.txt", "a.txt~2", "a.txt"):
            archive.writestr(name, "one")
    assert len(parse_parts(out.getvalue(), "a.zip")) == 4


# -- e-mail --------------------------------------------------------------------------------


def test_each_attachment_becomes_a_document() -> None:
    inner = file_fixtures.make_eml("The inner text.", "Inner", identity="<2@example.org>")
    data = file_fixtures.make_eml(
        "Dear Bob, see the table.",
        "On tea",
        {
            "costs.csv": b"Name,Sum\nRent,12\n",
            "more.zip": file_fixtures.make_zip({"a/b.txt": "Deep."}),
        },
    )
    parts = parse_parts(data, "a.eml")
    assert set(parts) == {"", "!/costs.csv", "!/more.zip!/a/b.txt"}
    message = parts[""]
    assert message.text.startswith("From: Ada <ada@example.org>\nTo: Bob")
    assert "Dear Bob, see the table." in message.text
    assert message.title == "On tea"
    assert message.metadata["date"] == "2024-05-01T10:00:00+00:00"
    assert message.metadata["attachments"] == ("costs.csv", "more.zip")
    assert parts["!/costs.csv"].metadata["part_of"] == "file:///folder/a.eml"
    assert parts["!/costs.csv"].location_at(20) == {"table": 1, "row": 2}
    assert "Name: Rent" in parts["!/costs.csv"].text
    assert parts["!/more.zip!/a/b.txt"].text == "Deep."
    assert "The inner text." in parse_parts(inner, "b.eml")[""].text


def test_html_mail_becomes_markdown() -> None:
    document = parse(
        file_fixtures.make_eml("", html="<h1>Hello</h1><p>It is <b>hot</b>.</p>"), "a.eml"
    )
    assert "# Hello\n\nIt is **hot**." in document.text


def test_mbox_messages_are_named_by_message_id() -> None:
    data = file_fixtures.make_mbox(
        [
            file_fixtures.make_eml("One."),
            file_fixtures.make_eml("Two.", identity="<2@x>"),
            file_fixtures.make_eml("Copy."),
        ]
    )
    parts = parse_parts(data, "a.mbox")
    assert set(parts) == {"!/1%40example.org", "!/2%40x", "!/1%40example.org~2"}
    assert "Two." in parts["!/2%40x"].text


def test_mail_text_after_a_picture_is_kept() -> None:
    data = (
        b"From: a@x\nSubject: S\nContent-Type: multipart/mixed; boundary=B\n\n"
        b"--B\nContent-Type: text/plain\n\nFirst.\n"
        b"--B\nContent-Type: image/png\nContent-Disposition: inline; filename=a.png\n\nx\n"
        b"--B\nContent-Type: text/html\n\n<p>The deadline is <b>Friday</b>.</p>\n"
        b"--B\nContent-Type: text/plain\nContent-Disposition: inline; filename=notes.txt\n\nNotes.\n"
        b"--B\nContent-Type: text/calendar\n\nBEGIN:VCALENDAR\n--B--\n"
    )
    parts = parse_parts(data, "a.eml")
    assert "First.\n\nThe deadline is **Friday**." in parts[""].text
    assert parts["!/notes.txt"].text.strip() == "Notes."
    assert len(parts) == 3


def test_mail_with_only_an_attachment_is_unpacked() -> None:
    data = (
        b"From: a@x\nSubject: S\nContent-Type: text/html; name=a.html\n"
        b"Content-Disposition: attachment; filename=a.html\n\n<p>It is all in here.</p>\n"
    )
    parts = parse_parts(data, "a.eml")
    assert "It is all in here." in parts["!/a.html"].text


def test_mbox_line_that_starts_with_from_is_text() -> None:
    body = "Dear Bob,\n\nFrom what I know this line is text.\n"
    data = file_fixtures.make_mbox(
        [file_fixtures.make_eml(body), file_fixtures.make_eml(">From quoted.", identity="<2@x>")]
    )
    data = data.replace(b">From quoted", b">>From quoted")
    parts = parse_parts(data, "a.mbox")
    assert len(parts) == 2
    assert "From what I know" in parts["!/1%40example.org"].text
    assert "\n>From quoted." in parts["!/2%40x"].text
    with pytest.raises(NoText):
        parse_parts(b"no mailbox at all", "a.mbox")


@pytest.mark.parametrize(
    "line", ["From a@b", "From a@b Mon, 01 Jan 2024 00:00:00 GMT", "From a@b 2024-01-01T00:00:00Z"]
)
def test_mbox_accepts_other_date_formats(line: str) -> None:
    data = f"{line}\nSubject: One\n\nFirst.\n\n{line}\nSubject: Two\n\nSecond.\n".encode()
    assert [part.title for part in parse_parts(data, "a.mbox").values()] == ["One", "Two"]


def test_html_is_read_if_the_plain_alternative_is_empty() -> None:
    head = b"From: a@x\nSubject: S\nContent-Type: multipart/alternative; boundary=B\n\n"
    html, plain = (
        b"--B\nContent-Type: text/html\n\n<p>THE BODY</p>\n",
        b"--B\nContent-Type: text/plain\n\n\n",
    )
    for data in (head + html + plain + b"--B--\n", head + plain + html + b"--B--\n"):
        assert "THE BODY" in parse(data, "a.eml").text

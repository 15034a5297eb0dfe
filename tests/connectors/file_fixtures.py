"""Files of every format, made from the texts that should be found in them again."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from xml.sax.saxutils import escape

Lines = Sequence[tuple[float, float, float, str]]


def pdf(pages: Sequence[Lines | str], outline: Sequence[tuple[str, int]] = ()) -> bytes:
    """Pages of (x, y, size, text), or of a text in lines; `outline` names pages from 0."""
    objects: list[bytes] = [b"", b""]  # catalog and pages, written last

    def add(body: bytes) -> int:
        objects.append(body)
        return len(objects)

    font = add(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
    numbers = []
    for page in pages:
        lines = (
            [(50, 740 - 14 * i, 11, line) for i, line in enumerate(page.split("\n"))]
            if isinstance(page, str)
            else page
        )
        drawn = b"".join(
            b"/F1 %g Tf 1 0 0 1 %g %g Tm (%s) Tj\n"
            % (
                size,
                x,
                y,
                text.encode("cp1252")
                .replace(b"\\", b"\\\\")
                .replace(b"(", b"\\(")
                .replace(b")", b"\\)"),
            )
            for x, y, size, text in lines
        )
        body = b"BT\n" + drawn + b"ET"
        content = add(b"<</Length %d>>stream\n%s\nendstream" % (len(body), body))
        numbers.append(
            add(
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R"
                b"/Resources<</Font<</F1 %d 0 R>>>>>>" % (content, font)
            )
        )
    root = b""
    if outline:
        first = len(objects) + 2
        parent = len(objects) + 1
        add(
            b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>"
            % (first, first + len(outline) - 1, len(outline))
        )
        for i, (title, page_number) in enumerate(outline):
            around = (b"/Prev %d 0 R" % (first + i - 1) if i else b"") + (
                b"/Next %d 0 R" % (first + i + 1) if i + 1 < len(outline) else b""
            )
            add(
                b"<</Title(%s)/Parent %d 0 R/Dest[%d 0 R/Fit]%s>>"
                % (title.encode("cp1252"), parent, numbers[page_number], around)
            )
        root = b"/Outlines %d 0 R" % parent
    objects[0] = b"<</Type/Catalog/Pages 2 0 R%s>>" % root
    kids = b" ".join(b"%d 0 R" % number for number in numbers)
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(numbers))
    out, offsets = b"%PDF-1.4\n", []
    for i, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (i, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        start,
    )


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_CORE = """<?xml version="1.0"?><cp:coreProperties
xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">
<dc:title>{title}</dc:title><dc:creator>Ada</dc:creator>
<dcterms:created>2024-05-01T10:00:00Z</dcterms:created></cp:coreProperties>"""


def docx(sections: Sequence[tuple[str, str]], title: str = "", extra: str = "") -> bytes:
    """Sections of a heading and a paragraph; `extra` is body XML behind them."""
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>{escape(a)}</w:t></w:r></w:p>'
        f'<w:p><w:r><w:t xml:space="preserve">{escape(b)}</w:t></w:r></w:p>'
        for a, b in sections
    )
    return zipped(
        {
            "[Content_Types].xml": '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
            "_rels/.rels": f'<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="{_RELS}/officeDocument" Target="word/document.xml"/></Relationships>',
            "word/_rels/document.xml.rels": f'<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="{_RELS}/styles" Target="styles.xml"/></Relationships>',
            "word/styles.xml": f'<?xml version="1.0"?><w:styles {_W}><w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style></w:styles>',
            "word/document.xml": f'<?xml version="1.0"?><w:document {_W}><w:body>{body}{extra}</w:body></w:document>',
            "docProps/core.xml": _CORE.format(title=escape(title)),
        }
    )


def docx_table(rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(
        "<w:tr>"
        + "".join(f"<w:tc><w:p><w:r><w:t>{escape(c)}</w:t></w:r></w:p></w:tc>" for c in row)
        + "</w:tr>"
        for row in rows
    )
    return f"<w:tbl>{cells}</w:tbl>"


def pptx(slides: Sequence[tuple[str, str]], notes: str = "") -> bytes:
    from pptx import Presentation

    made = Presentation()
    for title, body in slides:
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def xlsx(sheets: Mapping[str, Sequence[Sequence[object]]], hidden: Sequence[str] = ()) -> bytes:
    import xlsxwriter

    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_numbers": False})
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        if name in hidden:
            sheet.hide()
        for y, row in enumerate(rows):
            for x, value in enumerate(row):
                if isinstance(value, str):
                    sheet.write_string(y, x, value)
                elif value is not None:
                    sheet.write(y, x, value)
    book.close()
    return out.getvalue()


_OPEN = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:meta="urn:oasis:names:tc:opendocument:xmlns:meta:1.0"'
)


def _open(kind: str, body: str, title: str = "") -> bytes:
    mime = f"application/vnd.oasis.opendocument.{kind}"
    return zipped(
        {
            "mimetype": mime,
            "content.xml": f'<?xml version="1.0"?><office:document-content {_OPEN}><office:body>{body}</office:body></office:document-content>',
            "meta.xml": f'<?xml version="1.0"?><office:document-meta {_OPEN}><office:meta><dc:title>{escape(title)}</dc:title></office:meta></office:document-meta>',
            "META-INF/manifest.xml": f'<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry manifest:full-path="/" manifest:media-type="{mime}"/></manifest:manifest>',
        }
    )


def odt(sections: Sequence[tuple[str, str]], title: str = "", extra: str = "") -> bytes:
    body = "".join(
        f'<text:h text:outline-level="1">{escape(a)}</text:h><text:p>{escape(b)}</text:p>'
        for a, b in sections
    )
    return _open("text", f"<office:text>{body}{extra}</office:text>", title)


def odp(slides: Sequence[tuple[str, str]]) -> bytes:
    body = "".join(
        f"<draw:page><draw:frame><draw:text-box><text:p>{escape(a)}</text:p><text:p>{escape(b)}</text:p></draw:text-box></draw:frame></draw:page>"
        for a, b in slides
    )
    return _open("presentation", f"<office:presentation>{body}</office:presentation>")


def ods(sheets: Mapping[str, Sequence[Sequence[str]]]) -> bytes:
    body = "".join(
        f'<table:table table:name="{escape(name)}">'
        + "".join(
            "<table:table-row>"
            + "".join(
                f'<table:table-cell office:value-type="string"><text:p>{escape(c)}</text:p></table:table-cell>'
                for c in row
            )
            + "</table:table-row>"
            for row in rows
        )
        + "</table:table>"
        for name, rows in sheets.items()
    )
    return _open("spreadsheet", f"<office:spreadsheet>{body}</office:spreadsheet>")


def epub(chapters: Sequence[tuple[str, str]], title: str = "A book") -> bytes:
    files: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OPS/package.opf"/></rootfiles></container>',
    }
    items = refs = ""
    for i, (head, body) in enumerate(chapters):
        files[f"OPS/c{i}.xhtml"] = (
            '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head>'
            f"<body><h1>{escape(head)}</h1><p>{escape(body)}</p></body></html>"
        )
        items = f'<item id="i{i}" href="c{i}.xhtml" media-type="application/xhtml+xml"/>' + items
        refs += f'<itemref idref="i{i}"/>'
    files["OPS/package.opf"] = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<metadata><dc:title>{escape(title)}</dc:title><dc:creator>Ada</dc:creator><dc:language>en</dc:language></metadata>"
        f"<manifest>{items}</manifest><spine>{refs}</spine></package>"
    )
    return zipped(files)


def rtf(paragraphs: Sequence[str]) -> bytes:
    def written(text: str) -> str:
        return "".join(
            c if c.isascii() and c not in "\\{}" else (f"\\{c}" if c in "\\{}" else f"\\u{ord(c)}?")
            for c in text
        )

    body = "\\par ".join(map(written, paragraphs))
    return ("{\\rtf1\\ansi\\deff0 {\\fonttbl {\\f0 Times;}}" + body + "}").encode()


def eml(
    body: str,
    subject: str = "On the matter",
    attachments: Mapping[str, bytes] = {},
    html: str = "",
    identity: str = "<1@example.org>",
) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "Ada <ada@example.org>", "Bob <bob@example.org>"
    message["Date"], message["Subject"] = "Wed, 01 May 2024 10:00:00 +0000", subject
    message["Message-ID"] = identity
    message.set_content(body)
    if html:
        message.add_alternative(html, subtype="html")
    for name, data in attachments.items():
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return bytes(message)


def mbox(messages: Sequence[bytes]) -> bytes:
    return b"".join(
        b"From ada@example.org Wed May  1 10:00:00 2024\n" + m + b"\n\n" for m in messages
    )


def ipynb(cells: Sequence[tuple[str, str]]) -> bytes:
    made = [
        {
            "cell_type": kind,
            "source": text.splitlines(keepends=True),
            "metadata": {},
            **(
                {"outputs": [{"output_type": "stream", "name": "stdout", "text": ["printed\n"]}]}
                if kind == "code"
                else {}
            ),
        }
        for kind, text in cells
    ]
    return json.dumps(
        {
            "cells": made,
            "metadata": {"language_info": {"name": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    ).encode()


def srt(said: Sequence[str]) -> bytes:
    def clock(second: int) -> str:
        return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02},000"

    return "\n".join(
        f"{i + 1}\n{clock(10 * i)} --> {clock(10 * i + 9)}\n{text}\n" for i, text in enumerate(said)
    ).encode()


def scan(text: str) -> bytes:
    """A PDF whose only page is a picture."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png(text))).save(out, "PDF")
    return out.getvalue()


def png(text: str) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (900, 120), "white")
    ImageDraw.Draw(picture).text((20, 30), text, fill="black", font=ImageFont.load_default(40))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


BINARY: Mapping[str, Callable[[], bytes]] = {
    "report.pdf": lambda: pdf(
        ["First page\nof a report", "Second page\nwith more"], [("First page", 0)]
    ),
    "letter.docx": lambda: docx(
        [("One", "Some text."), ("Two", "More text.")], extra=docx_table([["a", "b"], ["1", "2"]])
    ),
    "talk.pptx": lambda: pptx([("One", "Some text"), ("Two", "More text")], notes="A note"),
    "sums.xlsx": lambda: xlsx({"Costs": [["Name", "Sum"], ["Rent", 12], ["Light", 3.5]]}),
    "sums.ods": lambda: ods({"Costs": [["Name", "Sum"], ["Rent", "twelve"]]}),
    "letter.odt": lambda: odt([("One", "Some text."), ("Two", "More text.")]),
    "talk.odp": lambda: odp([("One", "Some text."), ("Two", "More text.")]),
    "book.epub": lambda: epub([("One", "Some text."), ("Two", "More text.")]),
    "letter.rtf": lambda: rtf(["Some text.", "Größe."]),
    "mail.eml": lambda: eml("Some text.", attachments={"a.csv": b"Name,Sum\nRent,12\n"}),
    "mails.mbox": lambda: mbox([eml("One."), eml("Two.", identity="<2@example.org>")]),
    "files.zip": lambda: zipped({"a.txt": "Some text.", "b/c.md": "# More\n\ntext"}),
    "files.tar.gz": lambda: tarred({"a.txt": b"Some text.", "b/c.md": b"# More\n\ntext"}),
}

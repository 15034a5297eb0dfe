"""Files of every format, made from given texts."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from xml.sax.saxutils import escape

Lines = Sequence[tuple[float, float, float, str]]


def make_pdf(pages: Sequence[Lines | str], outline: Sequence[tuple[str, int]] = ()) -> bytes:
    """Make a PDF from pages of (x, y, size, text) or of lines; `outline` counts pages from 0."""
    objects: list[bytes] = [b"", b""]  # catalog and page tree, written last
    font = _add_object(
        objects, b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
    )
    page_numbers = []
    for page in pages:
        body = b"BT\n" + _draw_lines(page) + b"ET"
        content = _add_object(objects, b"<</Length %d>>stream\n%s\nendstream" % (len(body), body))
        page_object = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R"
            b"/Resources<</Font<</F1 %d 0 R>>>>>>" % (content, font)
        )
        page_numbers.append(_add_object(objects, page_object))
    root = _add_outline(objects, outline, page_numbers) if outline else b""
    objects[0] = b"<</Type/Catalog/Pages 2 0 R%s>>" % root
    kids = b" ".join(b"%d 0 R" % number for number in page_numbers)
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(page_numbers))
    return _join_objects(objects)


def _add_object(objects: list[bytes], body: bytes) -> int:
    objects.append(body)
    return len(objects)


def _draw_lines(page: Lines | str) -> bytes:
    lines: Lines = (
        [(50, 740 - 14 * i, 11, line) for i, line in enumerate(page.split("\n"))]
        if isinstance(page, str)
        else page
    )
    operators = b""
    for x, y, size, text in lines:
        escaped = text.encode("cp1252").replace(b"\\", b"\\\\")
        escaped = escaped.replace(b"(", b"\\(").replace(b")", b"\\)")
        operators += b"/F1 %g Tf 1 0 0 1 %g %g Tm (%s) Tj\n" % (size, x, y, escaped)
    return operators


def _add_outline(
    objects: list[bytes], outline: Sequence[tuple[str, int]], page_numbers: Sequence[int]
) -> bytes:
    """Add the outline; return the entry of the catalog that refers to it."""
    parent, first = len(objects) + 1, len(objects) + 2
    _add_object(
        objects,
        b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>"
        % (first, first + len(outline) - 1, len(outline)),
    )
    for i, (title, page_index) in enumerate(outline):
        siblings = (b"/Prev %d 0 R" % (first + i - 1) if i else b"") + (
            b"/Next %d 0 R" % (first + i + 1) if i + 1 < len(outline) else b""
        )
        _add_object(
            objects,
            b"<</Title(%s)/Parent %d 0 R/Dest[%d 0 R/Fit]%s>>"
            % (title.encode("cp1252"), parent, page_numbers[page_index], siblings),
        )
    return b"/Outlines %d 0 R" % parent


def _join_objects(objects: Sequence[bytes]) -> bytes:
    content, offsets = b"%PDF-1.4\n", []
    for i, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (i, body)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return content + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        start,
    )


def make_zip(files: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return out.getvalue()


def make_tar(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


_WORD_NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_CORE = """<?xml version="1.0"?><cp:coreProperties
xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">
<dc:title>{title}</dc:title><dc:creator>Ada</dc:creator>
<dcterms:created>2024-05-01T10:00:00Z</dcterms:created></cp:coreProperties>"""


def make_docx(sections: Sequence[tuple[str, str]], title: str = "", extra: str = "") -> bytes:
    """Make sections of a heading and a paragraph; `extra` is body XML after them."""
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>{escape(a)}</w:t></w:r></w:p>'
        f'<w:p><w:r><w:t xml:space="preserve">{escape(b)}</w:t></w:r></w:p>'
        for a, b in sections
    )
    return make_zip(
        {
            "[Content_Types].xml": '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
            "_rels/.rels": f'<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="{_RELATIONSHIPS}/officeDocument" Target="word/document.xml"/></Relationships>',
            "word/_rels/document.xml.rels": f'<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="{_RELATIONSHIPS}/styles" Target="styles.xml"/></Relationships>',
            "word/styles.xml": f'<?xml version="1.0"?><w:styles {_WORD_NAMESPACE}><w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style></w:styles>',
            "word/document.xml": f'<?xml version="1.0"?><w:document {_WORD_NAMESPACE}><w:body>{body}{extra}</w:body></w:document>',
            "docProps/core.xml": _CORE.format(title=escape(title)),
        }
    )


def make_docx_table(rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(
        "<w:tr>"
        + "".join(f"<w:tc><w:p><w:r><w:t>{escape(c)}</w:t></w:r></w:p></w:tc>" for c in row)
        + "</w:tr>"
        for row in rows
    )
    return f"<w:tbl>{cells}</w:tbl>"


def make_pptx(slides: Sequence[tuple[str, str]], notes: str = "") -> bytes:
    from pptx import Presentation

    presentation = Presentation()
    for title, body in slides:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def make_xlsx(
    sheets: Mapping[str, Sequence[Sequence[object]]], hidden: Sequence[str] = ()
) -> bytes:
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


_OPEN_DOCUMENT_NAMESPACES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:meta="urn:oasis:names:tc:opendocument:xmlns:meta:1.0"'
)


def _make_open_document(kind: str, body: str, title: str = "") -> bytes:
    mime = f"application/vnd.oasis.opendocument.{kind}"
    return make_zip(
        {
            "mimetype": mime,
            "content.xml": f'<?xml version="1.0"?><office:document-content {_OPEN_DOCUMENT_NAMESPACES}><office:body>{body}</office:body></office:document-content>',
            "meta.xml": f'<?xml version="1.0"?><office:document-meta {_OPEN_DOCUMENT_NAMESPACES}><office:meta><dc:title>{escape(title)}</dc:title></office:meta></office:document-meta>',
            "META-INF/manifest.xml": f'<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry manifest:full-path="/" manifest:media-type="{mime}"/></manifest:manifest>',
        }
    )


def make_odt(sections: Sequence[tuple[str, str]], title: str = "", extra: str = "") -> bytes:
    body = "".join(
        f'<text:h text:outline-level="1">{escape(a)}</text:h><text:p>{escape(b)}</text:p>'
        for a, b in sections
    )
    return _make_open_document("text", f"<office:text>{body}{extra}</office:text>", title)


def make_odp(slides: Sequence[tuple[str, str]]) -> bytes:
    body = "".join(
        f"<draw:page><draw:frame><draw:text-box><text:p>{escape(a)}</text:p><text:p>{escape(b)}</text:p></draw:text-box></draw:frame></draw:page>"
        for a, b in slides
    )
    return _make_open_document("presentation", f"<office:presentation>{body}</office:presentation>")


def make_ods(sheets: Mapping[str, Sequence[Sequence[str]]]) -> bytes:
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
    return _make_open_document("spreadsheet", f"<office:spreadsheet>{body}</office:spreadsheet>")


def make_epub(chapters: Sequence[tuple[str, str]], title: str = "A book") -> bytes:
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
    return make_zip(files)


def make_rtf(paragraphs: Sequence[str]) -> bytes:
    def escape_rtf(text: str) -> str:
        return "".join(
            c if c.isascii() and c not in "\\{}" else (f"\\{c}" if c in "\\{}" else f"\\u{ord(c)}?")
            for c in text
        )

    body = "\\par ".join(map(escape_rtf, paragraphs))
    return ("{\\rtf1\\ansi\\deff0 {\\fonttbl {\\f0 Times;}}" + body + "}").encode()


def make_eml(
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


def make_mbox(messages: Sequence[bytes]) -> bytes:
    return b"".join(
        b"From ada@example.org Wed May  1 10:00:00 2024\n" + m + b"\n\n" for m in messages
    )


def make_ipynb(cells: Sequence[tuple[str, str]]) -> bytes:
    notebook_cells = [
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
            "cells": notebook_cells,
            "metadata": {"language_info": {"name": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    ).encode()


def make_srt(texts: Sequence[str]) -> bytes:
    def clock(second: int) -> str:
        return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02},000"

    return "\n".join(
        f"{i + 1}\n{clock(10 * i)} --> {clock(10 * i + 9)}\n{text}\n"
        for i, text in enumerate(texts)
    ).encode()


def make_scan(text: str) -> bytes:
    """Make a PDF whose only page is a picture."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(make_png(text))).save(out, "PDF")
    return out.getvalue()


def make_png(text: str) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (900, 120), "white")
    ImageDraw.Draw(picture).text((20, 30), text, fill="black", font=ImageFont.load_default(40))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


BINARY_FILES: Mapping[str, Callable[[], bytes]] = {
    "report.pdf": lambda: make_pdf(
        ["First page\nof a report", "Second page\nwith more"], [("First page", 0)]
    ),
    "letter.docx": lambda: make_docx(
        [("One", "Some text."), ("Two", "More text.")],
        extra=make_docx_table([["a", "b"], ["1", "2"]]),
    ),
    "talk.pptx": lambda: make_pptx([("One", "Some text"), ("Two", "More text")], notes="A note"),
    "sums.xlsx": lambda: make_xlsx({"Costs": [["Name", "Sum"], ["Rent", 12], ["Light", 3.5]]}),
    "sums.ods": lambda: make_ods({"Costs": [["Name", "Sum"], ["Rent", "twelve"]]}),
    "letter.odt": lambda: make_odt([("One", "Some text."), ("Two", "More text.")]),
    "talk.odp": lambda: make_odp([("One", "Some text."), ("Two", "More text.")]),
    "book.epub": lambda: make_epub([("One", "Some text."), ("Two", "More text.")]),
    "letter.rtf": lambda: make_rtf(["Some text.", "Größe."]),
    "mail.eml": lambda: make_eml("Some text.", attachments={"a.csv": b"Name,Sum\nRent,12\n"}),
    "mails.mbox": lambda: make_mbox(
        [make_eml("One."), make_eml("Two.", identity="<2@example.org>")]
    ),
    "files.zip": lambda: make_zip({"a.txt": "Some text.", "b/c.md": "# More\n\ntext"}),
    "files.tar.gz": lambda: make_tar({"a.txt": b"Some text.", "b/c.md": b"# More\n\ntext"}),
}

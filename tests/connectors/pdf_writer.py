"""A small writer of PDFs with text at given places, several fonts, lines and annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

FONTS = {"F1": b"Helvetica", "F2": b"Helvetica-Bold"}


@dataclass
class Page:
    """A page: text and drawing operators, the rotation, and annotations as dictionaries."""

    content: bytes = b""
    rotate: int = 0
    annotations: list[bytes] = field(default_factory=list)

    def write(
        self, x: float, y: float, text: str, size: float = 10, font: str = "F1", turn: int = 0
    ) -> None:
        """Write a line at (x, y), turned counterclockwise by `turn` degrees."""
        matrix = {0: b"1 0 0 1", 90: b"0 1 -1 0", 180: b"-1 0 0 -1", 270: b"0 -1 1 0"}[turn]
        escaped = text.encode("cp1252").replace(b"\\", b"\\\\")
        escaped = escaped.replace(b"(", b"\\(").replace(b")", b"\\)")
        self.content += b"BT /%s %g Tf %s %g %g Tm (%s) Tj ET\n" % (
            font.encode(),
            size,
            matrix,
            x,
            y,
            escaped,
        )

    def write_lines(
        self, x: float, y: float, lines: Sequence[str], size: float = 10, font: str = "F1"
    ) -> None:
        """Write lines one below the other."""
        for i, line in enumerate(lines):
            self.write(x, y - 1.3 * size * i, line, size, font)

    def draw_line(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Draw a thin line."""
        self.content += b"0.5 w %g %g m %g %g l S\n" % (x0, y0, x1, y1)

    def annotate(self, subtype: str, box: tuple[float, float, float, float], **keys: str) -> None:
        """Add an annotation; `keys` are PDF values."""
        entries = b"".join(b"/%s %s" % (k.encode(), v.encode("cp1252")) for k, v in keys.items())
        self.annotations.append(
            b"<</Type/Annot/Subtype/%s/Rect[%g %g %g %g]%s>>" % (subtype.encode(), *box, entries)
        )


def build_pdf(pages: Sequence[Page], fonts: Sequence[bytes] = (), form: bool = False) -> bytes:
    """Return a PDF; `fonts` are objects that are used as F3, F4 ...; `form` makes it a form."""
    objects: list[bytes] = [b"", b""]

    def add(body: bytes) -> int:
        objects.append(body)
        return len(objects)

    names = b""
    standard = [
        b"<</Type/Font/Subtype/Type1/BaseFont/%s/Encoding/WinAnsiEncoding>>" % name
        for name in FONTS.values()
    ]
    for i, body in enumerate([*standard, *fonts], start=1):
        names += b"/F%d %d 0 R" % (i, add(body))
    kids, fields = b"", b""
    for page in pages:
        content = add(b"<</Length %d>>stream\n%s\nendstream" % (len(page.content), page.content))
        annotations = [add(body) for body in page.annotations]
        references = b" ".join(b"%d 0 R" % number for number in annotations)
        widgets = [n for n in annotations if b"/Subtype/Widget" in objects[n - 1]]
        fields += b" ".join(b"%d 0 R" % number for number in widgets) + b" "
        number = add(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Rotate %d/Contents %d 0 R"
            b"/Annots[%s]/Resources<</Font<<%s>>>>>>" % (page.rotate, content, references, names)
        )
        kids += b"%d 0 R " % number
    acro_form = b"/AcroForm<</Fields[%s]>>" % fields if form else b""
    objects[0] = b"<</Type/Catalog/Pages 2 0 R%s>>" % acro_form
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(pages))
    data, offsets = b"%PDF-1.5\n", []
    for i, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (i, body)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return data + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        start,
    )

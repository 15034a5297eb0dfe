"""Mail as it is: wrong charsets, stubs as plain text, quoted messages and signatures."""

from __future__ import annotations

import base64
from email.message import EmailMessage

import pytest

from connectors.parsers.mail_charsets import decode_stated, find_codec
from connectors.parsers.mail_quotes import find_quotes_and_signatures
from rag import Document
from tests.connectors import file_fixtures
from tests.connectors.parsing import list_marked_texts, parse, parse_parts


def make_raw_mail(
    body: bytes, charset: str | None = None, *, kind: str = "plain", subject: bytes = b"Hello"
) -> bytes:
    stated = f'; charset="{charset}"'.encode() if charset is not None else b""
    return (
        b"From: a@b.example\nSubject: "
        + subject
        + b"\nMIME-Version: 1.0\nContent-Type: text/"
        + kind.encode()
        + stated
        + b"\nContent-Transfer-Encoding: 8bit\n\n"
        + body
        + b"\n"
    )


def read_body(data: bytes) -> str:
    return parse(data, "a.eml").text.partition("\n\n")[2].strip()


GERMAN = "Die Prüfung der Pumpe muß vor dem Öffnen des Ventils erfolgen."
RUSSIAN = "Перед включением насоса проверьте уровень масла в баке."
HEBREW = "לפני הפעלת המשאבה יש לבדוק את מפלס השמן במיכל."
THAI = "โปรดตรวจสอบระดับน้ำมันก่อนเปิดเครื่องสูบน้ำ"
CHINESE = "启动水泵之前,请先检查油箱里的油位是否正常。"
JAPANESE = "ポンプを起動する前に、油の量を確認してください。"
POLISH = "Proszę o przesłanie zaświadczenia o dochodach za ubiegły miesiąc."
PRICE = "Price 5 € – “quoted”"


@pytest.mark.parametrize(
    ("text", "encoding", "charset"),
    [
        # unknown names
        (HEBREW, "iso8859-8", "iso-8859-8-i"),
        (HEBREW, "iso8859-8", "ISO-8859-8-E"),
        (HEBREW, "cp1255", "x-unknown"),
        (THAI, "cp874", "unknown-8bit"),
        (CHINESE, "gbk", "x-unknown"),
        (GERMAN, "cp1252", "ansi_x3.110-1983"),
        (GERMAN, "cp850", "cp-850"),
        (GERMAN, "cp1252", "windows-1252http-equivcontent-type"),
        (RUSSIAN, "cp1251", "x-cp1251"),
        (RUSSIAN, "koi8-r", "user-defined"),
        (JAPANESE, "shift_jis", "x-sjis"),
        (PRICE, "cp1252", "default"),
        # no charset
        (RUSSIAN, "koi8-r", None),
        (JAPANESE, "iso2022_jp", None),
        (GERMAN, "utf-8", None),
        (POLISH, "iso8859-2", ""),
        # wrong charsets
        (GERMAN, "cp1252", "utf-8"),
        (RUSSIAN, "cp1251", "utf-8"),
        (GERMAN, "utf-8", "iso-8859-1"),
        (RUSSIAN, "utf-8", "koi8-r"),
        (RUSSIAN, "cp1251", "iso-8859-1"),
        (GERMAN, "cp1252", "us-ascii"),
        (JAPANESE, "iso2022_jp", "us-ascii"),
        (CHINESE, "gb18030", "us-ascii"),
        # a smaller charset than that of the text
        (PRICE, "cp1252", "iso-8859-1"),
        ("株式会社①㈱ " + JAPANESE, "cp932", "shift_jis"),
        ("朱镕基 " + CHINESE, "gbk", "gb2312"),
        # right ones
        (GERMAN, "cp1252", "windows-1252"),
        (POLISH, "iso8859-2", "iso-8859-2"),
        (RUSSIAN, "koi8-r", "KOI8-R"),
        ("é", "latin-1", "iso-8859-1"),
        ("Ж", "cp1251", "windows-1251"),
        (JAPANESE, "utf-16", "utf-16"),
        ("Gr+APYA3w-e +", "ascii", "us-ascii"),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "html"])
def test_body_is_decoded(text: str, encoding: str, charset: str | None, kind: str) -> None:
    if encoding == "utf-16":  # its bytes do not pass as 8bit
        assert decode_stated(text.encode(encoding), charset) == text
        return
    markup = f"<p>{text}</p>" if kind == "html" else text
    assert read_body(make_raw_mail(markup.encode(encoding), charset, kind=kind)) == text


def test_charset_of_html_is_that_of_its_head() -> None:
    head = '<html><head><meta http-equiv="Content-Type" content="text/html; charset=iso-8859-5">'
    markup = f"{head}</head><body><p>Да, М.</p></body></html>".encode("iso8859-5")
    assert read_body(make_raw_mail(markup, kind="html")) == "Да, М."
    markup = b'<html><head><meta charset="x-none"></head><body>' + RUSSIAN.encode("cp1251")
    assert read_body(make_raw_mail(markup, kind="html")) == RUSSIAN


def test_few_damaged_bytes_do_not_change_the_encoding() -> None:
    data = (JAPANESE * 10).encode("shift_jis") + b"\xfd\xfe\xff"
    assert decode_stated(data, "shift_jis").startswith(JAPANESE * 10)
    data = (GERMAN * 10).encode() + b"\xff"
    assert decode_stated(data, "utf-8") == GERMAN * 10 + "\ufffd"


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf8", "utf-8"),
        ('"UTF-8"', "utf-8"),
        ("utf8mb4", "utf-8"),
        ("cp-850", "cp850"),
        ("windows_1250", "cp1250"),
        ("iso 8859 15", "iso8859-15"),
        ("iso-8859-1;format=flowed", "iso8859-1"),
        ("ks_c_5601-1987", "euc_kr"),
        ("x-unknown", ""),
        ("base64", ""),
        ("rot13", ""),
        ("idna", ""),
        (None, ""),
    ],
)
def test_names_of_charsets(charset: str | None, codec: str) -> None:
    assert find_codec(charset) == codec


@pytest.mark.parametrize(
    ("subject", "charset", "expected"),
    [
        ("Rückruf Müller".encode("latin-1"), None, "Rückruf Müller"),
        ("Rückruf Müller".encode(), None, "Rückruf Müller"),
        ("Совещание в четверг".encode("koi8-r"), None, "Совещание в четверг"),
        ("Да".encode("koi8-r"), "koi8-r", "Да"),
        ("Größe".encode("cp1252"), "us-ascii", "Größe"),
        (b"=?x-unknown?Q?R=FCckruf_M=FCller?=", None, "Rückruf Müller"),
        (b"=?utf-8?Q?R=FCckruf_M=FCller?=", None, "Rückruf Müller"),
        (b"=?iso-8859-8-i?B?" + base64.b64encode("שלום".encode("iso8859-8")) + b"?=", None, "שלום"),
        (b"Re: =?utf-8?Q?Gr=C3?= =?utf-8?Q?=B6=C3=9Fe?= 4", None, "Re: Größe 4"),
        (b"=?cp-850?Q?Gr=94=E1e?= und =?cp-850?Q?Gr=94=E1e?=", None, "Größe und Größe"),
        (b"=?utf-8?Q?Gr=C3=B6=C3=9Fe?=", None, "Größe"),
        (b"=?utf-8?B?not base64 at all", None, "=?utf-8?B?not base64 at all"),
    ],
)
def test_subject_is_decoded(subject: bytes, charset: str | None, expected: str) -> None:
    document = parse(make_raw_mail(b"Text.", charset, subject=subject), "a.eml")
    assert document.title == expected
    assert document.metadata["subject"] == expected
    assert f"Subject: {expected}\n" in document.text


def test_raw_sender_and_file_name_are_decoded() -> None:
    data = (
        "From: Jürgen Groß <j@b.example>\nSubject: x y\nContent-Type: text/plain\n"
        'Content-Disposition: attachment; filename="Größe.txt"\n\nText.\n'
    ).encode("latin-1")
    parts = parse_parts(data, "a.eml")
    document = parts[""]
    assert isinstance(document, Document)
    assert document.metadata["from"] == "Jürgen Groß <j@b.example>"
    assert document.metadata["attachments"] == ("Größe.txt",)


def test_mail_in_utf16_without_a_mark() -> None:
    assert read_body(make_raw_mail(b"Some text.").decode().encode("utf-16-le")) == "Some text."


# -- Alternatives --------------------------------------------------------------------------

TABLE = "<p>Invoice</p><table><tr><th>Item</th><th>Price</th></tr><tr><td>Pump</td><td>980</td></tr></table>"
LONG = " ".join(f"word{number}" for number in range(200))
NEWS = "".join(
    f"<h2>Topic {n}</h2><p>The story number {n} is about item{n} and place{n}.</p>"
    for n in range(20)
)


@pytest.mark.parametrize(
    ("plain", "html"),
    [
        ("See HTML version.", TABLE),
        ("Your mail client does not support HTML.", TABLE),
        ("Ihr E-Mail-Programm kann kein HTML anzeigen.", TABLE),
        ("View this email in your browser: https://a.example/x", f"<p>{LONG}</p>"),
        ("Invoice", f"<p>{LONG}</p>"),
        ("", TABLE),
        ("word1 word2 word150", "<p>word1 word2 word150 a b c d e f g h i j 980</p>"),
        (
            "See HTML version: " + " ".join(f"word{n}" for n in range(121, 151)),
            "<p>" + " ".join(f"word{n}" for n in range(101, 151)) + "</p>",
        ),
        (" ".join(f"word{number}" for number in range(60)), f"<p>{LONG}</p>"),
        ("The news of May: https://a.example/1 https://a.example/2", NEWS),
        (
            "This message is in HTML format. " + " ".join(f"word{n}" for n in range(30)),
            f"<p>{LONG}</p>",
        ),
    ],
)
def test_html_is_read_if_the_plain_text_is_a_stub(plain: str, html: str) -> None:
    document = parse(file_fixtures.make_eml(plain, html=html), "a.eml")
    for word in ("980", "word150", "item7"):
        assert (word in document.text) == (word in html)
    assert document.coverage is not None
    assert document.coverage.missing == 0
    expected = [("repeated", "plain text version")] if plain else []
    assert [(o.reason, o.name) for o in document.coverage.omissions] == expected


@pytest.mark.parametrize(
    ("plain", "html"),
    [
        ("The pump costs 980.", "<p>The pump <b>costs</b> 980.</p>"),
        (
            f"View in your browser: https://a.example\n\n{LONG}",
            f"<p>View in your browser</p><p>{LONG}</p>",
        ),
        ("See HTML.", "<p>See HTML.</p>"),
        (
            LONG,
            "<style>p {color: red}</style><script>var a, b, c;</script>"
            + f"<p>{LONG} and a footer</p>",
        ),
        ("Yes, on Friday.", "<p>Yes, on Friday.</p><p>Sent from my phone</p>"),
        (LONG, "<p>Please read the text.</p>"),
    ],
)
def test_plain_text_is_read_if_it_is_complete(plain: str, html: str) -> None:
    document = parse(file_fixtures.make_eml(plain, html=html), "a.eml")
    assert plain in document.text
    assert document.coverage is not None
    assert [(o.reason, o.name) for o in document.coverage.omissions] == [
        ("repeated", "HTML version")
    ]
    assert document.coverage.omissions[0].words > 0
    assert document.coverage.missing == 0


def test_html_with_its_pictures_is_compared_too() -> None:
    message = EmailMessage()
    message["Subject"] = "x y"
    message.set_content("See HTML version.")
    message.add_alternative(TABLE, subtype="html")
    html_part = message.get_payload()[1]  # type: ignore[index]
    html_part.add_related(b"\x89PNG", maintype="image", subtype="png", cid="<1>")  # type: ignore[union-attr]
    assert "980" in parse(bytes(message), "a.eml").text


# -- Quoted messages and signatures --------------------------------------------------------

REPLY = "Yes, the pump is in hall 7."


def list_blocks(text: str) -> list[tuple[str, str]]:
    return [
        (block.title, text[block.start : block.end]) for block in find_quotes_and_signatures(text)
    ]


@pytest.mark.parametrize(
    "attribution",
    [
        "On Wed, 1 May 2024 at 10:00, Ann Example <ann@b.example> wrote:",
        "On Wed, 1 May 2024 at 10:00, Ann Example\n<ann@b.example> wrote:",
        "On 2024-05-01 10:00, Ann Example wrote:\n",
        "On Wed, May 1, 2024 at 10:00 AM Ann Example <ann@b.example> wrote:",
        "Ann Example wrote:",
        "Am 01.05.2024 um 10:00 schrieb Ann Example:",
        "Am Mi., 1. Mai 2024 um 10:00 Uhr schrieb Ann Example <\nann@b.example>:",
        "Ann Example <ann@b.example> schrieb am Mi., 1. Mai 2024, 10:00:",
        "Le mer. 1 mai 2024 à 10:00, Ann Example <ann@b.example> a écrit :",
        "El mié, 1 may 2024 a las 10:00, Ann Example escribió:",
        "Il giorno mer 1 mag 2024 alle ore 10:00 Ann Example ha scritto:",
        "Op wo 1 mei 2024 om 10:00 schreef Ann Example <ann@b.example>:",
        "Em qua., 1 de mai. de 2024 às 10:00, Ann Example escreveu:",
        "2024-05-01 10:00 GMT+02:00 Ann Example <ann@b.example>:",
    ],
)
def test_quote_begins_with_its_attribution(attribution: str) -> None:
    quote = f"{attribution}\n> Where is the pump?\n>\n> Ann"
    blocks = [("Quoted message from Ann Example", f"{quote}\n")]
    assert list_blocks(f"{REPLY}\n\n{quote}\n") == blocks
    assert list_blocks(f"{REPLY}\n\n{quote}\n\nAnd in hall 8.") == blocks


@pytest.mark.parametrize(
    "start",
    [
        "-----Original Message-----\nFrom: Ann",
        "-----Ursprüngliche Nachricht-----\nVon: Ann",
        "-------- Message d'origine --------\nDe : Ann",
        "---------- Forwarded message ---------\nFrom: Ann",
        "Begin forwarded message:\n\nFrom: Ann",
        "________________________________\nFrom: Ann <ann@b.example>\nSent: Wednesday\nTo: Bob\nSubject: The pump",
        "From: Ann\nSent: Wednesday\nTo: Bob\nCc: Eve\nSubject: The pump",
        "Von: Ann\nGesendet: Mittwoch, 1. Mai 2024 10:00\nAn: Bob\nBetreff: Pumpe",
        "De : Ann\nEnvoyé : mercredi\nÀ : Bob\nObjet : La pompe",
        "**From:** Ann  \n**Sent:** Wednesday  \n**To:** Bob  \n**Subject:** The pump",
        "On Wed, 1 May 2024 at 10:00, Ann <ann@b.example> wrote:\n",
    ],
)
def test_rest_of_a_mail_is_a_quote(start: str) -> None:
    quote = f"{start}\n\nWhere is the pump?\n\nAnn"
    assert list_blocks(f"{REPLY}\n\n{quote}") == [("Quoted message from Ann", quote)]


def test_sender_without_a_name() -> None:
    quote = "Begin forwarded message:\n\nWhere is it?"
    assert list_blocks(f"{REPLY}\n\n{quote}") == [("Quoted message", quote)]
    quote = "From: ann@b.example\nSent: Wednesday\nTo: Bob\nSubject: x\n\nWhere is it?"
    assert list_blocks(f"{REPLY}\n\n{quote}") == [("Quoted message from ann@b.example", quote)]


def test_messages_in_a_quote_are_blocks_of_their_own() -> None:
    text = (
        "Yes.\n\nOn 1 May 2024, Ann wrote:\n> Where is it?\n>\n> On 30 April 2024, Bob wrote:\n"
        ">> It is lost.\n>>> Eve wrote: x\n>> Really.\n>\n> So where?\n"
    )
    assert list_blocks(text) == [
        ("Quoted message from Ann", "On 1 May 2024, Ann wrote:\n> Where is it?\n>\n"),
        ("Quoted message from Bob", "> On 30 April 2024, Bob wrote:\n>> It is lost.\n"),
        ("Quoted message", ">>> Eve wrote: x\n"),
        ("Quoted message from Bob", ">> Really.\n>\n"),
        ("Quoted message from Ann", "> So where?\n"),
    ]


def test_heads_of_messages_below_each_other_begin_blocks() -> None:
    head = "From: {0}\nSent: Wednesday\nTo: Bob\nSubject: The pump\n\n"
    first, second = head.format("Vogt, Ann <ann@b.example>"), head.format("Eve")
    text = f"Yes.\n\n{first}Where is it?\n\n_____________\n{second}It is lost."
    assert list_blocks(text) == [
        ("Quoted message from Vogt, Ann", f"{first}Where is it?\n\n"),
        ("Quoted message from Eve", f"_____________\n{second}It is lost."),
    ]
    quoted = "".join(f"> {line}\n" for line in f"{first}Where is it?".split("\n"))
    assert list_blocks(f"Yes.\n{quoted}") == [("Quoted message from Vogt, Ann", quoted)]


@pytest.mark.parametrize(
    "text",
    [
        "From: the shop, to the hall.\nThe pump is new.",
        "On Friday Ann wrote: the pump is new.",
        "On 1 May we wrote:\nthe pump is new.",
        "The list:\n- a\n- b\n",
        "We saw this -- yes, this -- on Friday.",
        "a > b\n  > c",
        "-----\nA line and text",
        "From: a\nand to all of you\nText.",
    ],
)
def test_other_text_is_no_quote(text: str) -> None:
    found = [block for block in list_blocks(text) if not text.startswith("On 1 May")]
    assert found == []


def test_signature_ends_at_a_quote_or_the_end() -> None:
    quote = "Ann wrote:\n> Where?\n> -- \n> Ann"
    text = f"{REPLY}\n-- \nBob\nTel. 123\n\n{quote}"
    assert list_blocks(text) == [
        ("Signature", "-- \nBob\nTel. 123\n\n"),
        ("Quoted message from Ann", quote),
    ]
    assert list_blocks(f"{REPLY}\n--\nBob") == [("Signature", "--\nBob")]
    assert list_blocks(f"{REPLY}\n-- \n" + "a line\n" * 40) == []
    assert list_blocks(f"{REPLY}\n-- \n") == []


def test_inline_replies_are_between_quotes() -> None:
    text = "Ann wrote:\n> Where is it?\n\nIn hall 7.\n\n> And the gate?\n\nIn hall 8.\n"
    assert list_blocks(text) == [
        ("Quoted message from Ann", "Ann wrote:\n> Where is it?\n"),
        ("Quoted message", "> And the gate?\n"),
    ]


def test_chunks_of_a_mail_never_run_into_a_quote() -> None:
    body = f"{REPLY}\n\n-- \nBob, Example Ltd\n\nOn 1 May 2024, Ann wrote:\n> Where is the pump?\n"
    document = parse(file_fixtures.make_eml(body), "a.eml")
    assert list_marked_texts(document, "heading") == [
        (("Signature",), "-- \nBob, Example Ltd"),
        (("Quoted message from Ann",), "On 1 May 2024, Ann wrote:\n> Where is the pump?"),
    ]


@pytest.mark.parametrize(
    "quote",
    [
        '<div class="gmail_quote"><div class="gmail_attr">On 1 May 2024, Ann wrote:<br></div><blockquote class="gmail_quote"><p>Where is it?</p><p>Ann</p></blockquote></div>',
        '<p>On 1 May 2024, Ann wrote:</p><blockquote type="cite"><p>Where is it?</p><p>Ann</p></blockquote>',
    ],
)
def test_quotes_of_html_are_marked(quote: str) -> None:
    document = parse(file_fixtures.make_eml("", html=f"<p>{REPLY}</p>{quote}"), "a.eml")
    ((value, text),) = list_marked_texts(document, "heading")
    assert value == ("Quoted message from Ann",)
    assert text.startswith("On 1 May 2024")
    assert "Where is it?" in text
    assert REPLY not in text

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from rag import GroundedGenerator, Pipeline, ScriptedChat
from rag.serving import Options
from tests.conftest import ROOT
from tests.serving.conftest import QUESTION, Server, serve_pipeline

HOSTILE = """\
<script>window.pwned = 1; fetch("https://evil.example/x")</script>
<img src="https://evil.example/y.png" onerror="window.pwned = 2">
<iframe src="https://evil.example/z"></iframe> javascript:alert(1) ]]> --> </pre></mark>
The launch code of the </script><svg onload=alert(1)> rocket is 7719. &lt;b&gt;
"""


class Visit:
    """A page in its own browser context, with its errors and its requests to other hosts."""

    def __init__(self, browser: Browser, server: Server, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.foreign_urls: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._record_request)
        self.server = server
        self.page.goto(server.url)

    def _record_request(self, request: Any) -> None:
        if not request.url.startswith((self.server.url, "blob:")):
            self.foreign_urls.append(request.url)

    def ask(self, question: str) -> Locator:
        """Ask a question, and return its answer when it is complete."""
        answer_count = self.page.locator(".answer").count()
        self.page.fill("#question", question)
        self.page.keyboard.press("Enter")
        answer = self.page.locator(".answer:not(.writing)").nth(answer_count)
        expect(answer).to_be_visible()
        expect(self.page.locator("#send")).to_be_visible()
        return answer


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Any]:
    """Open the page of a server; the test fails on script errors and requests to other hosts."""
    visits: list[Visit] = []

    def open_visit(server: Server, **options: Any) -> Visit:
        visits.append(Visit(browser, server, **options))
        return visits[-1]

    yield open_visit
    for visit in visits:
        visit.context.close()
        assert not visit.errors and not visit.foreign_urls


def is_inside(inner: Locator, outer: Locator) -> bool:
    """Return whether an element is vertically within another, with a tolerance of one pixel."""
    inner_box, outer_box = inner.bounding_box(), outer.bounding_box()
    assert inner_box is not None and outer_box is not None
    inner_end = inner_box["y"] + inner_box["height"]
    outer_end = outer_box["y"] + outer_box["height"]
    return outer_box["y"] - 1 <= inner_box["y"] and inner_end <= outer_end + 1


def test_a_citation_opens_its_source_scrolled_to_the_quote(
    pipeline: Pipeline, tmp_path: Path, open_page: Any
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    filler = "\n\n".join(f"Paragraph {i} about nothing in particular. 𝄞 é" for i in range(300))
    text = f"{filler}\n\nA full battery lasts 34 minutes in calm air.\n\n{filler}\n"
    (docs / "long.txt").write_text(text, encoding="utf-8")
    pipeline.ingest(docs)
    with serve_pipeline(pipeline) as server:
        visit = open_page(server)
        page = visit.page
        answer = visit.ask(QUESTION)
        chip = answer.locator(".chip").first
        assert chip.inner_text() == "1"
        chip.click()
        mark = page.locator("#source-body mark")
        expect(mark).to_have_text("A full battery lasts 34 minutes in calm air.")
        assert is_inside(mark, page.locator("#source-body"))
        expect(page.locator("#source-title")).to_have_text("long.txt")
        expect(page.locator("#source-location")).to_contain_text("characters ")
        page.keyboard.press("Escape")
        expect(page.locator("#source")).to_be_hidden()
        expect(chip).to_be_focused()


def test_a_citation_of_a_pdf_opens_its_page(
    pipeline: Pipeline, folder: Path, open_page: Any
) -> None:
    shutil.copy(ROOT / "pipelines/sample/annual-report-2025.pdf", folder)
    pipeline.ingest(folder)
    with serve_pipeline(pipeline) as server:
        visit = open_page(server)
        page = visit.page
        answer = visit.ask("How high were the gusts of the storm of 9 November?")
        answer.locator(".chip").first.click()
        picture = page.locator("#source-body img")
        expect(picture).to_have_attribute("alt", "Page 2, with the cited words highlighted")
        expect(page.locator("#page-number")).to_have_text("2 / 4")
        page.click("#next-page")
        expect(page.locator("#source-body img")).to_have_attribute("alt", "Page 3")
        page.click("#view-text")
        expect(page.locator("#source-body mark")).to_contain_text("The mast recorded gusts")
        page.click("#view-page")
        expect(page.locator("#page-number")).to_have_text("3 / 4")


def test_unsupported_sentences_are_marked(pipeline: Pipeline, folder: Path, open_page: Any) -> None:
    pipeline.ingest(folder)
    reply = "A full battery lasts 34 minutes in calm air [1]. It was painted gold by Queen Victoria [1]."
    generator = GroundedGenerator(model=ScriptedChat(replies=(reply,)))
    with serve_pipeline(pipeline.model_copy(update={"generator": generator})) as server:
        visit = open_page(server)
        answer = visit.ask(QUESTION)
        sentence = answer.locator(".sentence.unsupported")
        expect(sentence).to_contain_text("It was painted gold")
        expect(sentence.locator(".flag")).to_have_text("not supported")
        assert answer.locator(".sentence.supported .flag").count() == 0
        assert "wavy" in sentence.evaluate("e => getComputedStyle(e).textDecorationStyle")


def test_an_abstention_shows_the_closest_passages(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    answer = visit.ask("Who composed the Goldberg variations?")
    expect(answer).to_contain_text("could not find an answer")
    answer.locator(".closest button").first.click()
    expect(visit.page.locator("#source-body mark")).to_be_visible()


def test_conversations_are_listed_resumed_and_deleted(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    visit.ask("How long does the battery last?")
    expect(visit.ask("And how long does charging take?")).to_contain_text("90 minutes")
    page.click("#new-conversation")
    visit.ask("What are the propellers made of?")
    conversations = page.locator("#conversations .open")
    expect(conversations).to_have_count(2)
    conversations.filter(has_text="battery").click()
    expect(page.locator(".answer")).to_have_count(2)
    expect(page.locator("#conversations .current")).to_contain_text("How long does the battery")
    expect(page.locator("#question")).to_be_focused()
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#conversations .current .icon").click()
    expect(conversations).to_have_count(1)
    expect(page.locator(".answer")).to_have_count(0)


def test_uploads_show_their_progress_and_can_be_asked_about(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    page.set_input_files(
        "#files",
        files=[
            {
                "name": "kettle.md",
                "mimeType": "text/markdown",
                "buffer": b"# Kettle\n\nThe kettle holds two litres.",
            }
        ],
    )
    expect(page.locator("#jobs progress")).to_be_visible()
    expect(page.locator("#documents")).to_contain_text("Kettle")
    expect(visit.ask("How much does the kettle hold?")).to_contain_text("two litres")
    page.set_input_files(
        "#files",
        files=[{"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 no"}],
    )
    expect(page.locator("#jobs .problem")).to_contain_text("broken.pdf")
    expect(page.locator("#failures summary")).to_contain_text("1 file could not be read")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#documents").get_by_label("Delete the document Kettle").click()
    expect(page.locator("#documents")).not_to_contain_text("Kettle")


def test_files_chosen_before_the_texts_of_the_page_are_uploaded(
    server: Server, open_page: Any
) -> None:
    page = open_page(server).page
    held_requests: list[Any] = []
    page.route("**/page/lang/*.json", lambda route: held_requests.append(route))
    page.reload()
    kettle = {
        "name": "kettle.md",
        "mimeType": "text/markdown",
        "buffer": b"# Kettle\n\nTwo litres.",
    }
    page.set_input_files("#files", files=[kettle])
    page.wait_for_function("document.querySelector('#files').files.length === 0")
    while not held_requests:
        page.evaluate("null")  # lets the events of the browser in
    held_requests[0].continue_()
    expect(page.locator("#jobs .note").first).to_contain_text("kettle.md")
    expect(page.locator("#documents")).to_contain_text("Kettle")


def test_the_key_dialog_stores_the_key_for_the_session(
    keyed_server: Server, open_page: Any
) -> None:
    assert keyed_server.keys is not None
    key = keyed_server.keys.add("me", "acme")
    visit = open_page(keyed_server)
    page = visit.page
    expect(page.locator("#key-dialog")).to_be_visible()
    page.fill("#key", "cw-wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-problem")).to_have_text("Unknown API key.")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    expect(page.locator("#empty")).to_contain_text("No documents yet")
    page.reload()
    expect(page.locator("#empty")).to_contain_text("No documents yet")
    page.click("#forget-key")
    expect(page.locator("#key-dialog")).to_be_visible()


def test_html_in_documents_and_questions_is_shown_as_text(server: Server, open_page: Any) -> None:
    server.upload("<img src=x onerror=window.pwned=3>.txt", HOSTILE.encode())
    visit = open_page(server)
    page = visit.page
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    answer = visit.ask("What is the launch code of the rocket?")
    expect(answer).to_contain_text("7719")
    answer.locator(".chip").first.click()
    expect(page.locator("#source-body mark")).to_contain_text(
        "</script><svg onload=alert(1)> rocket"
    )
    expect(page.locator("#source-body pre")).to_contain_text("<script>window.pwned = 1")
    visit.ask("<img src=x onerror='window.pwned=4'><script>window.pwned=5</script>")
    expect(page.locator("#documents")).to_contain_text("<img src=x onerror=window.pwned=3>")
    assert page.evaluate("window.pwned") is None
    assert (
        page.locator(
            "#messages img, #messages script, #source script, #source iframe, #documents img"
        ).count()
        == 0
    )
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)
    assert page.evaluate("window.pwned") is None


def test_the_page_works_with_the_keyboard_alone(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    chip = page.locator(".chip").first
    expect(chip).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        if chip.evaluate("e => e === document.activeElement"):
            break
    expect(chip).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#source-title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(chip).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    assert page.input_value("#question") == "one\n"


def test_all_controls_have_accessible_names(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    visit.ask(QUESTION).locator(".chip").first.click()
    for control in visit.page.locator("button, input, textarea, select").all():
        accessible_name = control.evaluate(
            "e => e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length)"
        )
        assert accessible_name, control.evaluate("e => e.outerHTML")


def test_nothing_is_wider_than_the_screen_of_a_phone(server: Server, open_page: Any) -> None:
    visit = open_page(
        server, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True
    )
    page = visit.page
    answer = visit.ask(QUESTION)
    is_too_wide = "() => document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(is_too_wide)
    answer.locator(".chip").first.tap()
    expect(page.locator("#source-body mark")).to_be_visible()
    assert not page.evaluate(is_too_wide)
    page.tap("#close-source")
    expect(page.locator("#sidebar")).to_be_hidden()
    page.tap("#open-sidebar")
    expect(page.locator("#conversations .open").first).to_be_visible()
    assert not page.evaluate(is_too_wide)
    page.locator("#conversations .open").first.tap()
    expect(page.locator("#sidebar")).to_be_hidden()


def test_the_color_scheme_follows_the_system_and_the_button(server: Server, open_page: Any) -> None:
    background_color = "() => getComputedStyle(document.body).backgroundColor"
    light = open_page(server, color_scheme="light").page
    dark = open_page(server, color_scheme="dark").page
    assert light.evaluate(background_color) == "rgb(251, 250, 247)"
    assert dark.evaluate(background_color) == "rgb(21, 26, 24)"
    expect(light.locator("#question")).to_be_focused()  # the page has started
    light.click("#theme")
    light.click("#theme")
    assert light.evaluate(background_color) == "rgb(21, 26, 24)"
    light.reload()
    expect(light.locator("body")).to_have_css("background-color", "rgb(21, 26, 24)")


def test_the_api_reference_lists_every_route(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    page.goto(f"{server.url}/docs")
    expect(page.locator("section").first).to_be_visible()
    reference_text = page.inner_text("#docs")
    for path in server.client.get("/openapi.json").json()["paths"]:
        assert path in reference_text


def test_server_failures_are_shown_and_the_question_is_kept(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    page.route(
        "**/ask",
        lambda route: route.fulfill(status=503, json={"error": {"message": "busy, try again"}}),
    )
    page.fill("#question", "x")
    page.keyboard.press("Enter")
    expect(page.locator("#status.error")).to_have_text("busy, try again")
    page.unroute("**/ask")
    page.route("**/ask", lambda route: route.abort())
    page.fill("#question", "Where is it?")
    page.keyboard.press("Enter")
    expect(page.locator("#status.error")).to_have_text(
        "The server cannot be reached. Is it running?"
    )
    expect(page.locator("#question")).to_have_value("Where is it?")  # so that it can be sent again
    page.unroute("**/ask")
    expect(visit.ask(QUESTION)).to_contain_text("34 minutes")


def test_markdown_of_models_is_rendered_and_html_is_not(
    pipeline: Pipeline, folder: Path, open_page: Any
) -> None:
    pipeline.ingest(folder)
    reply = "## Battery\n\n- A **full battery** lasts 34 minutes in calm air [1].\n- Charging takes `90 minutes` [1]. <b>x</b>\n"
    generator = GroundedGenerator(model=ScriptedChat(replies=(reply,)))
    with serve_pipeline(pipeline.model_copy(update={"generator": generator})) as server:
        visit = open_page(server)
        answer = visit.ask(QUESTION)
        expect(answer.locator("strong").first).to_have_text("Battery")
        expect(answer.locator("strong").nth(1)).to_have_text("full battery")
        expect(answer.locator("code")).to_have_text("90 minutes")
        assert "•" in answer.inner_text() and "**" not in answer.inner_text()
        assert answer.locator("b").count() == 0


@pytest.mark.parametrize(
    "text",
    [
        "`34 min$x_1$ then.",
        "**34 min$x_1$ then.",
        "`34` and **9**",
        "``",
        "**",
        "$5 or $6",
    ],
)
def test_no_letter_of_an_answer_is_lost(server: Server, open_page: Any, text: str) -> None:
    page = open_page(server).page
    script = """async (text) => {
        const { renderInline } = await import("/page/markdown.js");
        return renderInline(text).map((node) => node.textContent ?? node).join("");
    }"""
    drawn = page.evaluate(script, text)
    letters = [c for c in text if c.isalnum()]
    assert [c for c in drawn if c.isalnum()] == letters


def test_deleting_a_part_deletes_its_archive_after_confirmation(
    server: Server, open_page: Any
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner one.txt", "One heron.")
        archive.writestr("inner two.txt", "Two herons.")
    server.upload("birds.zip", buffer.getvalue())
    visit = open_page(server)
    page = visit.page
    dialog_messages: list[str] = []

    def accept(dialog: Any) -> None:
        dialog_messages.append(dialog.message)
        dialog.accept()

    page.on("dialog", accept)
    page.locator("#documents").get_by_label("Delete the document inner one.txt").click()
    expect(page.locator("#documents")).not_to_contain_text("inner")
    assert dialog_messages == ["Delete “birds.zip” and all files in it from the index?"]
    expect(page.locator("#documents .open").first).to_be_focused()


# -- views, filters, feedback, languages -----------------------------------------------------


MARKDOWN_REPLY = """\
## Plans

| Plan | Price |
|---|---|
| Team | 20 euros [1] |
| Pro | 30 euros [1] |

The energy is given by $E = mc^2$ [1]. It costs $5 and $6 [1].

```python
print("<b>x</b>")
```
"""


@pytest.fixture
def rich_server(pipeline: Pipeline, tmp_path: Path) -> Iterator[Server]:
    """A server with two folders, metadata, a failure, and a model that writes Markdown."""
    docs = tmp_path / "docs"
    (docs / "prices").mkdir(parents=True)
    (docs / "prices" / "plans.md").write_text(
        "---\nyear: 2025\nowner: Ruth\n---\n# Plans\n\n| Plan | Price |\n|---|---|\n"
        "| Team | 20 euros |\n| Pro | 30 euros |\n\n"
        "The energy is given by $E = mc^2$. It costs $5 and $6.\n"
    )
    (docs / "handbook.md").write_text("# Handbook\n\nA full battery lasts 34 minutes.\n")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    pipeline.ingest(docs)
    chat = ScriptedChat(replies=(MARKDOWN_REPLY,) * 9)
    generator = GroundedGenerator(model=chat, fallback=None)
    options = Options(models=("none",), rate=1e9, burst=10**9)
    with serve_pipeline(pipeline.replace(generator=generator), options=options) as server:
        yield server


def test_tables_formulas_and_code_are_drawn(rich_server: Server, open_page: Any) -> None:
    visit = open_page(rich_server)
    answer = visit.ask("What do the plans cost?")
    expect(answer.locator(".answer-text td").nth(0)).to_have_text("Team")
    expect(answer.locator(".answer-text td").nth(1).locator(".chip")).to_have_text("1")
    expect(answer.locator("math msup")).to_have_text("c2")
    expect(answer.locator("pre.code")).to_have_text('print("<b>x</b>")\n')
    expect(answer.locator(".answer-text")).to_contain_text("It costs $5 and $6")


def test_the_trace_of_an_answer_is_shown(rich_server: Server, open_page: Any) -> None:
    visit = open_page(rich_server)
    answer = visit.ask("What do the plans cost?")
    trace = answer.locator(".trace")
    trace.locator("summary").click()
    for stage in ("retrieve", "generate", "check", "verify"):
        expect(trace.get_by_role("cell", name=stage, exact=True)).to_be_visible()
    expect(trace).to_contain_text("prompt grounded")
    expect(trace).to_contain_text("lexical #")
    trace.get_by_role("button", name="Plans").first.click()
    expect(visit.page.locator("#source-body mark")).to_contain_text("Team")


def test_an_answer_is_rated_with_a_reason(rich_server: Server, open_page: Any) -> None:
    visit = open_page(rich_server)
    answer = visit.ask("What do the plans cost?")
    answer.get_by_label("Bad answer").click()
    answer.get_by_label("Why? (optional)").fill("too long")
    visit.page.keyboard.press("Enter")
    expect(answer.locator(".comment")).to_be_hidden()
    visit.page.reload()
    expect(visit.page.get_by_label("Bad answer")).to_have_attribute("aria-pressed", "true")
    (feedback,) = rich_server.client.get("/feedback").json()["feedback"]
    assert (feedback["rating"], feedback["comment"]) == ("down", "too long")
    assert feedback["question"] == "What do the plans cost?" and "Team" in feedback["answer"]
    visit.page.get_by_label("Bad answer").click()
    expect(visit.page.get_by_label("Bad answer")).to_have_attribute("aria-pressed", "false")
    expect(visit.page.locator("#status")).to_have_text("")
    assert rich_server.client.get("/feedback").json()["feedback"] == []


def test_a_question_is_edited_and_asked_again(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    visit.ask("How long does the battery last?")
    visit.ask("How long does charging take?")
    page.get_by_label("Edit and ask again: How long does the battery last?").click()
    expect(page.locator("#question")).to_have_value("How long does the battery last?")
    page.keyboard.press("Escape")
    expect(page.locator("#question")).to_have_value("")
    page.get_by_label("Edit and ask again: How long does the battery last?").click()
    page.fill("#question", "What are the propellers made of?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer:not(.writing)")).to_have_count(1)
    expect(page.locator(".answer")).to_contain_text("nylon")
    (conversation,) = server.client.get("/conversations").json()["conversations"]
    turns = server.client.get("/conversation", params={"name": conversation["name"]}).json()
    assert [turn["question"] for turn in turns["turns"]] == ["What are the propellers made of?"]


def test_conversations_are_searched_renamed_and_exported(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    visit.ask("How long does the battery last?")
    page.click("#new-conversation")
    visit.ask("What are the propellers made of?")
    page.fill("#search-conversations", "BATTERY")
    expect(page.locator("#conversations .open")).to_have_count(1)
    page.fill("#search-conversations", "no such words")
    expect(page.locator("#conversations")).to_have_text("Nothing found")
    page.fill("#search-conversations", "")
    expect(page.locator("#conversations .open")).to_have_count(2)
    page.on("dialog", lambda dialog: dialog.accept("Propellers: notes"))
    page.click("#rename-conversation")
    expect(page.locator("#current-conversation")).to_have_text("Propellers: notes")
    with page.expect_download() as download:
        page.click("#export-markdown")
    assert download.value.suggested_filename == "Propellers notes.md"
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert "## What are the propellers made of?" in text and "nylon" in text
    with page.expect_download() as download:
        page.click("#export-json")
    exported = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert exported["turns"][0]["question"] == "What are the propellers made of?"
    for export in (text, json.dumps(exported)):
        assert "file:///docs/" in export and str(ROOT) not in export


def test_documents_are_filtered_chosen_and_described(rich_server: Server, open_page: Any) -> None:
    visit = open_page(rich_server)
    page = visit.page
    page.keyboard.press("Escape")
    page.click("#open-documents")
    rows = page.locator("#document-rows tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("docs/broken.pdf")
    expect(rows.nth(0)).to_contain_text("failed not a PDF")
    page.fill("#document-filter", "hand")
    expect(rows).to_have_count(1)
    page.fill("#document-filter", "")
    page.get_by_label("Metadata of Plans").click()
    expect(page.locator("#metadata-body")).to_contain_text("ownerRuth")
    expect(page.locator("#metadata-body li")).to_have_text(["Plans"])
    page.locator("#metadata-dialog button").click()
    page.get_by_label("Select Handbook").check()
    page.click("#open-chat")
    expect(page.locator("#filters")).to_contain_text("1 document selected")
    with page.expect_request("**/ask") as request:
        visit.ask("battery")
    assert request.value.post_data_json["where"] == {"and": [{"uri": ["file:///docs/handbook.md"]}]}
    page.locator(".filter-chip").click()
    page.click("#open-filter")
    page.select_option("#filter-folder", label="docs/prices/")
    page.select_option("#filter-field", "year")
    page.select_option("#filter-op", ">=")
    page.fill("#filter-value", "2025")
    page.get_by_role("button", name="Apply").click()
    with page.expect_response("**/ask") as response:
        visit.ask("What do the plans cost?")
    answer = response.value.text()
    assert "plans.md" in answer and "handbook.md" not in answer


def test_documents_are_indexed_again(pipeline: Pipeline, tmp_path: Path, open_page: Any) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Kite\n\nThe kite is red.\n")
    configured = pipeline.replace(sources=(str(docs),))
    configured.ingest()
    with serve_pipeline(configured) as server:
        visit = open_page(server)
        (docs / "b.md").write_text("# Boat\n\nThe boat is blue.\n")
        visit.page.click("#open-documents")
        visit.page.click("#ingest-again")
        expect(visit.page.locator("#view-documents-panel .status")).to_have_text(
            "1 added, 0 updated, 1 unchanged"
        )
        expect(visit.page.locator("#document-rows tr")).to_have_count(2)


def test_a_model_and_the_number_of_passages_are_chosen(rich_server: Server, open_page: Any) -> None:
    visit = open_page(rich_server)
    page = visit.page
    page.click("#open-settings")
    page.select_option("#setting-model", "none")
    page.fill("#setting-k", "2")
    page.keyboard.press("Tab")
    page.click("#open-chat")
    with page.expect_request("**/ask") as request:
        answer = visit.ask("How long does a full battery last?")
    assert request.value.post_data_json["model"] == "none"
    assert request.value.post_data_json["k"] == 2
    expect(answer).to_contain_text("A full battery lasts 34 minutes.")
    expect(answer.locator(".answer-text table")).to_have_count(0)
    refused = rich_server.client.post("/ask", json={"question": "x", "model": "openai:gpt-4.1"})
    assert refused.json()["error"]["code"] == "unknown_model"


def test_a_link_opens_the_citation(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    visit.ask(QUESTION).locator(".chip").first.click()
    mark = visit.page.locator("#source-body mark")
    expect(mark).to_be_visible()
    link, quote = visit.page.url, mark.inner_text()
    assert "#source=" in link
    second_page = open_page(server).page
    second_page.goto(link)
    second_page.reload()
    expect(second_page.locator("#source-body mark")).to_have_text(quote)
    second_page.keyboard.press("Escape")
    assert "#" not in second_page.url


def test_keys_are_listed_and_change_the_view(server: Server, open_page: Any) -> None:
    page = open_page(server).page
    expect(page.locator("#question")).to_be_focused()  # the page has started
    page.locator("#open-help").focus()
    page.keyboard.press("?")
    expect(page.locator("#help-dialog")).to_be_visible()
    expect(page.locator("#help-dialog dt")).to_have_count(8)
    page.keyboard.press("Escape")
    for key, panel in (("d", "documents"), ("s", "settings"), ("c", "chat")):
        page.locator("#open-help").focus()
        page.keyboard.press(key)
        expect(page.locator(f"#view-{panel}-panel")).to_be_visible()


@pytest.mark.parametrize(
    ("code", "ask", "documents"),
    [
        ("de", "Fragen", "Dokumente"),
        ("fr", "Demander", "Documents"),
        ("es", "Preguntar", "Documentos"),
        ("zh", "提问", "文档"),
        ("pt", "Ask", "Documents"),
    ],
)
def test_the_page_speaks_the_language_of_the_browser(
    server: Server, open_page: Any, code: str, ask: str, documents: str
) -> None:
    page = open_page(server, locale=code).page
    expect(page.locator("#send")).to_have_text(ask)
    expect(page.locator("#open-documents")).to_have_text(documents)
    assert page.evaluate("document.documentElement.lang") == (code if code != "pt" else "en")


def test_a_language_is_chosen(server: Server, open_page: Any) -> None:
    page = open_page(server).page
    page.click("#open-settings")
    page.select_option("#setting-language", "de")
    expect(page.locator("#send")).to_have_text("Fragen")


def test_what_has_no_answer_is_said_in_the_language_of_the_page(
    server: Server, open_page: Any
) -> None:
    visit = open_page(server, locale="de")
    answer = visit.ask("Who is the emperor of Mars?")
    expect(answer).to_contain_text("Dazu habe ich in den Quellen keine Antwort gefunden.")
    visit.page.reload()
    expect(visit.page.locator(".answer")).to_contain_text("keine Antwort gefunden")


def test_times_and_statuses_of_the_documents_view(rich_server: Server, open_page: Any) -> None:
    visit = open_page(rich_server, locale="de", viewport={"width": 1280, "height": 800})
    visit.ask(QUESTION)
    page = visit.page
    page.click("#open-documents")
    row = page.locator("#document-rows tr").last
    assert re.search(r"\d\d\.\d\d\.\d\d, \d\d:\d\d", row.inner_text())
    expect(page.locator("#view-documents-panel [role=status]")).to_be_empty()
    for delete_button in row.get_by_label(re.compile("löschen")).all():
        box = delete_button.bounding_box()
        assert box is not None and box["x"] + box["width"] <= 1280
    is_wider = "e => e.scrollWidth > e.clientWidth"
    assert not page.locator("#document-table").locator("..").evaluate(is_wider)


def test_every_language_has_every_text() -> None:
    folder = ROOT / "rag" / "serving" / "page" / "lang"
    texts = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in folder.glob("*.json")}
    assert sorted(texts) == ["de", "en", "es", "fr", "zh"]
    scripts = "".join(p.read_text(encoding="utf-8") for p in folder.parent.glob("*.[jh][st]*"))
    for code, language in texts.items():
        assert language.keys() == texts["en"].keys(), code
        for key, text in language.items():
            names = sorted(re.findall(r"\{\w+\}", text))
            assert names == sorted(re.findall(r"\{\w+\}", texts["en"][key])), (code, key)
    facts = {"version", "namespace", "generator", "embedder", "retriever", "postprocessors"}
    for key in texts["en"].keys() - {"language", *facts}:
        assert f'"{key.removesuffix("_one")}"' in scripts or key.startswith("scheme_"), key


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_on_any_view(
    rich_server: Server, open_page: Any, scheme: str, width: int
) -> None:
    axe = Axe()
    visit = open_page(rich_server, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = visit.page

    def check(view: str) -> None:
        violations = axe.run(page).response["violations"]
        assert not [(v["id"], v["nodes"][0]["target"]) for v in violations], view
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), view

    answer = visit.ask("What do the plans cost?")
    answer.locator(".trace summary").click()
    check("chat")
    answer.locator(".chip").first.click()
    expect(page.locator("#source-body mark")).to_be_visible()
    check("source")
    page.click("#close-source")
    page.click("#open-filter")
    check("filter")
    page.keyboard.press("Escape")
    page.click("#open-help")
    check("help")
    page.keyboard.press("Escape")
    page.click("#open-documents")
    expect(page.locator("#document-rows tr")).to_have_count(3)
    check("documents")
    page.get_by_label("Metadata of Plans").click()
    expect(page.locator("#metadata-body li")).to_have_count(1)
    check("metadata")
    page.locator("#metadata-dialog button").click()
    page.click("#open-settings")
    expect(page.locator("#server-facts dd").first).to_be_visible()
    check("settings")
    page.goto(f"{rich_server.url}/docs")
    expect(page.locator("section").first).to_be_visible()
    check("docs")


def test_a_failed_edit_keeps_the_conversation(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    visit.ask("How long does the battery last?")
    visit.ask("How long does charging take?")
    page.route("**/ask", lambda route: route.fulfill(status=500, json={"error": {"message": "no"}}))
    page.get_by_label("Edit and ask again: How long does the battery last?").click()
    page.fill("#question", "What are the propellers made of?")
    page.keyboard.press("Enter")
    expect(page.locator("#status.error")).to_have_text("no")
    expect(page.locator(".answer")).to_have_count(2)
    page.unroute("**/ask")
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)


def test_two_pages_of_one_conversation_rate_their_own_turns(server: Server, open_page: Any) -> None:
    first = open_page(server)
    first.ask("How long does the battery last?")
    (conversation,) = server.client.get("/conversations").json()["conversations"]
    body = {"question": "How long does charging take?", "conversation": conversation["name"]}
    assert server.client.post("/ask", json=body).status_code == 200
    answer = first.ask("What are the propellers made of?")
    with first.page.expect_response("**/feedback*"):
        answer.get_by_label("Bad answer").click()
    (feedback,) = server.client.get("/feedback").json()["feedback"]
    assert (feedback["number"], feedback["question"]) == (3, "What are the propellers made of?")


def test_a_question_that_is_sent_while_the_page_loads_is_asked(
    pipeline: Pipeline, folder: Path, browser: Browser
) -> None:
    pipeline.ingest(folder)
    with serve_pipeline(pipeline) as server, browser.new_context() as context:
        page = context.new_page()

        def ask_before_the_texts_arrive(route: Any) -> None:
            page.fill("#question", QUESTION)
            page.keyboard.press("Enter")
            route.continue_()

        page.route("**/page/lang/*.json", ask_before_the_texts_arrive)
        page.goto(server.url)
        expect(page.locator(".answer:not(.writing)")).to_have_count(1)


def test_back_closes_what_was_opened(server: Server, open_page: Any) -> None:
    visit = open_page(server)
    page = visit.page
    visit.ask(QUESTION).locator(".chip").first.click()
    expect(page.locator("#source")).to_be_visible()
    page.go_back()
    expect(page.locator("#source")).to_be_hidden()
    expect(page.locator(".answer")).to_have_count(1)
    page.click("#open-documents")
    page.go_back()
    expect(page.locator("#view-chat-panel")).to_be_visible()
    page.go_forward()
    expect(page.locator("#view-documents-panel")).to_be_visible()


def test_another_language_keeps_the_question_that_is_being_written(
    server: Server, open_page: Any
) -> None:
    page = open_page(server).page
    page.fill("#question", "half a questi")
    page.click("#open-settings")
    page.select_option("#setting-language", "de")
    expect(page.locator("#send")).to_have_text("Fragen")
    expect(page.locator("#view-settings-panel")).to_be_visible()
    expect(page.locator("#question")).to_have_value("half a questi")


def test_words_between_formulas_stay_words(
    pipeline: Pipeline, tmp_path: Path, open_page: Any
) -> None:
    text = (
        "The area formula of a box is $$a^2 + b$$ and its volume formula is $$c^3$$ for all boxes."
    )
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text(f"# Boxes\n\n{text}\n")
    pipeline.ingest(docs)
    with serve_pipeline(pipeline) as server:
        answer = open_page(server).ask("What is the area formula of a box?")
        expect(answer.locator("math")).to_have_count(2)
        expect(answer.locator(".answer-text")).to_contain_text("for all boxes.")
        expect(answer.locator(".answer-text")).to_contain_text("and its volume formula is")

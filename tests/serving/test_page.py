from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from rag import GroundedGenerator, Pipeline, ScriptedChat
from tests.conftest import ROOT
from tests.serving.conftest import Server, running

QUESTION = "How long does a full battery last?"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = """\
<script>window.pwned = 1; fetch("https://evil.example/x")</script>
<img src="https://evil.example/y.png" onerror="window.pwned = 2">
<iframe src="https://evil.example/z"></iframe> javascript:alert(1) ]]> --> </pre></mark>
The launch code of the </script><svg onload=alert(1)> rocket is 7719. &lt;b&gt;
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without one, these tests are skipped, and say so."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no browser: the page is not tested (apt-get install chromium)")
    expect.set_options(timeout=60_000)  # the machine may be busy
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class Visit:
    """A page in a context of its own; it fails the test where it asks another host for anything."""

    def __init__(self, browser: Browser, server: Server, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.others: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)
        self.server = server
        self.page.goto(server.url)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.server.url, "blob:")):
            self.others.append(request.url)

    def ask(self, question: str) -> Locator:
        """Ask, and wait for the whole answer."""
        before = self.page.locator(".answer").count()
        self.page.fill("#question", question)
        self.page.keyboard.press("Enter")
        answer = self.page.locator(".answer:not(.writing)").nth(before)
        expect(answer).to_be_visible()
        expect(self.page.locator("#send")).to_be_visible()
        return answer


@pytest.fixture
def visits(browser: Browser) -> Iterator[Any]:
    made: list[Visit] = []

    def visit(server: Server, **options: Any) -> Visit:
        made.append(Visit(browser, server, **options))
        return made[-1]

    yield visit
    for each in made:
        each.context.close()
        assert not each.errors and not each.others


def inside(page: Page, inner: Locator, outer: Locator) -> bool:
    a, b = inner.bounding_box(), outer.bounding_box()
    assert a is not None and b is not None
    return b["y"] - 1 <= a["y"] and a["y"] + a["height"] <= b["y"] + b["height"] + 1


def test_a_citation_opens_its_source_scrolled_to_the_words(
    pipeline: Pipeline, tmp_path: Path, visits: Any
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    filler = "\n\n".join(f"Paragraph {i} about nothing in particular. 𝄞 é" for i in range(300))
    text = f"{filler}\n\nA full battery lasts 34 minutes in calm air.\n\n{filler}\n"
    (docs / "long.txt").write_text(text, encoding="utf-8")
    pipeline.ingest(docs)
    with running(pipeline) as server:
        visit = visits(server)
        page = visit.page
        answer = visit.ask(QUESTION)
        chip = answer.locator(".chip").first
        assert chip.inner_text() == "1"
        chip.click()
        mark = page.locator("#source-body mark")
        expect(mark).to_have_text("A full battery lasts 34 minutes in calm air.")
        assert inside(page, mark, page.locator("#source-body"))
        expect(page.locator("#source-title")).to_have_text("long.txt")
        expect(page.locator("#source-about")).to_contain_text("characters ")
        page.keyboard.press("Escape")
        expect(page.locator("#source")).to_be_hidden()
        expect(chip).to_be_focused()


def test_a_pdf_opens_on_its_page(pipeline: Pipeline, folder: Path, visits: Any) -> None:
    shutil.copy(ROOT / "pipelines/sample/annual-report-2025.pdf", folder)
    pipeline.ingest(folder)
    with running(pipeline) as server:
        visit = visits(server)
        page = visit.page
        answer = visit.ask("How high were the gusts of the storm of 9 November?")
        answer.locator(".chip").first.click()
        picture = page.locator("#source-body img")
        expect(picture).to_have_attribute("alt", "Page 2, the cited words marked")
        expect(page.locator("#page-number")).to_have_text("2 / 4")
        page.click("#next")
        expect(page.locator("#source-body img")).to_have_attribute("alt", "Page 3")
        page.click("#view-text")
        expect(page.locator("#source-body mark")).to_contain_text("a storm crossed the coast")
        page.click("#view-page")
        expect(page.locator("#page-number")).to_have_text("3 / 4")


def test_sentences_that_are_not_supported_are_marked(
    pipeline: Pipeline, folder: Path, visits: Any
) -> None:
    pipeline.ingest(folder)
    reply = "A full battery lasts 34 minutes in calm air [1]. It was painted gold by Queen Victoria [1]."
    generator = GroundedGenerator(model=ScriptedChat(replies=(reply,)))
    with running(pipeline.model_copy(update={"generator": generator})) as server:
        visit = visits(server)
        answer = visit.ask(QUESTION)
        wrong = answer.locator(".sentence.unsupported")
        expect(wrong).to_contain_text("It was painted gold")
        expect(wrong.locator(".flag")).to_have_text("not supported")
        assert answer.locator(".sentence.supported .flag").count() == 0
        assert "wavy" in wrong.evaluate("e => getComputedStyle(e).textDecorationStyle")


def test_an_answer_that_is_none_shows_the_nearest_passages(server: Server, visits: Any) -> None:
    visit = visits(server)
    answer = visit.ask("Who composed the Goldberg variations?")
    expect(answer).to_contain_text("could not find an answer")
    answer.locator("summary").click()
    answer.locator(".nearest button").first.click()
    expect(visit.page.locator("#source-body mark")).to_be_visible()


def test_conversations_are_listed_go_on_and_are_deleted(server: Server, visits: Any) -> None:
    visit = visits(server)
    page = visit.page
    visit.ask("How long does the battery last?")
    expect(visit.ask("And how long does charging take?")).to_contain_text("90 minutes")
    page.click("#new")
    visit.ask("What are the propellers made of?")
    talks = page.locator("#talks .open")
    expect(talks).to_have_count(2)
    talks.filter(has_text="battery").click()
    expect(page.locator(".answer")).to_have_count(2)
    expect(page.locator("#talks .current")).to_contain_text("How long does the battery")
    expect(page.locator("#question")).to_be_focused()
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#talks .current .icon").click()
    expect(talks).to_have_count(1)
    expect(page.locator(".answer")).to_have_count(0)


def test_files_are_uploaded_with_progress_and_can_be_asked_about(
    server: Server, visits: Any
) -> None:
    visit = visits(server)
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
    expect(page.locator("#jobs .fault")).to_contain_text("broken.pdf")
    expect(page.locator("#failures summary")).to_contain_text("1 file could not be read")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Delete the document Kettle").click()
    expect(page.locator("#documents")).not_to_contain_text("Kettle")


def test_a_key_is_asked_for_and_kept_for_the_session(keyed: Server, visits: Any) -> None:
    assert keyed.keys is not None
    key = keyed.keys.add("me", "acme")
    visit = visits(keyed)
    page = visit.page
    expect(page.locator("#key-dialog")).to_be_visible()
    page.fill("#key", "cw-wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-fault")).to_have_text("This key is not known.")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    expect(page.locator("#empty")).to_contain_text("No documents yet")
    page.reload()
    expect(page.locator("#empty")).to_contain_text("No documents yet")
    page.click("#leave")
    expect(page.locator("#key-dialog")).to_be_visible()


def test_a_document_full_of_html_is_only_text(server: Server, visits: Any) -> None:
    server.upload("<img src=x onerror=window.pwned=3>.txt", HOSTILE.encode())
    visit = visits(server)
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
            "#talk img, #talk script, #source script, #source iframe, #documents img"
        ).count()
        == 0
    )
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)
    assert page.evaluate("window.pwned") is None


def test_it_is_used_by_keyboard_alone(server: Server, visits: Any) -> None:
    visit = visits(server)
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


def test_everything_has_a_name_for_screen_readers(server: Server, visits: Any) -> None:
    visit = visits(server)
    visit.ask(QUESTION).locator(".chip").first.click()
    for control in visit.page.locator("button, input, textarea").all():
        named = control.evaluate(
            "e => e.getAttribute('aria-label') || e.innerText.trim() || (e.labels && e.labels.length)"
        )
        assert named, control.evaluate("e => e.outerHTML")


def test_on_a_phone_nothing_is_wider_than_the_screen(server: Server, visits: Any) -> None:
    visit = visits(server, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page = visit.page
    answer = visit.ask(QUESTION)
    wide = "() => document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(wide)
    answer.locator(".chip").first.tap()
    expect(page.locator("#source-body mark")).to_be_visible()
    assert not page.evaluate(wide)
    page.tap("#close-source")
    expect(page.locator("#side")).to_be_hidden()
    page.tap("#open-side")
    expect(page.locator("#talks .open").first).to_be_visible()
    assert not page.evaluate(wide)
    page.locator("#talks .open").first.tap()
    expect(page.locator("#side")).to_be_hidden()


def test_it_is_light_or_dark_as_wanted(server: Server, visits: Any) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = visits(server, color_scheme="light").page
    dark = visits(server, color_scheme="dark").page
    assert light.evaluate(ground) == "rgb(251, 250, 247)"
    assert dark.evaluate(ground) == "rgb(21, 26, 24)"
    light.click("#theme")
    light.click("#theme")
    assert light.evaluate(ground) == "rgb(21, 26, 24)"
    light.reload()
    assert light.evaluate(ground) == "rgb(21, 26, 24)"


def test_the_api_page_lists_every_route(server: Server, visits: Any) -> None:
    visit = visits(server)
    page = visit.page
    page.goto(f"{server.url}/docs")
    expect(page.locator("section").first).to_be_visible()
    told = page.inner_text("#docs")
    for path in server.client.get("/openapi.json").json()["paths"]:
        assert path in told


def test_a_server_that_fails_is_told(server: Server, visits: Any) -> None:
    visit = visits(server)
    page = visit.page
    page.route(
        "**/ask",
        lambda route: route.fulfill(status=503, json={"error": {"message": "busy, try again"}}),
    )
    page.fill("#question", "x")
    page.keyboard.press("Enter")
    expect(page.locator("#state.wrong")).to_have_text("busy, try again")
    page.unroute("**/ask")
    page.route("**/ask", lambda route: route.abort())
    page.fill("#question", "Where is it?")
    page.keyboard.press("Enter")
    expect(page.locator("#state.wrong")).to_have_text(
        "The server cannot be reached. Is it running?"
    )
    expect(page.locator("#question")).to_have_value("Where is it?")  # to be sent again
    page.unroute("**/ask")
    expect(visit.ask(QUESTION)).to_contain_text("34 minutes")


def test_markdown_of_models_is_shown_as_such_and_nothing_else_is(
    pipeline: Pipeline, folder: Path, visits: Any
) -> None:
    pipeline.ingest(folder)
    reply = "## Battery\n\n- A **full battery** lasts 34 minutes in calm air [1].\n- Charging takes `90 minutes` [1]. <b>x</b>\n"
    generator = GroundedGenerator(model=ScriptedChat(replies=(reply,)))
    with running(pipeline.model_copy(update={"generator": generator})) as server:
        visit = visits(server)
        answer = visit.ask(QUESTION)
        expect(answer.locator("strong").first).to_have_text("Battery")
        expect(answer.locator("strong").nth(1)).to_have_text("full battery")
        expect(answer.locator("code")).to_have_text("90 minutes")
        assert "•" in answer.inner_text() and "**" not in answer.inner_text()
        assert answer.locator("b").count() == 0


def test_an_archive_is_deleted_as_one(server: Server, visits: Any) -> None:
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("inner one.txt", "One heron.")
        archive.writestr("inner two.txt", "Two herons.")
    server.upload("birds.zip", out.getvalue())
    visit = visits(server)
    page = visit.page
    said: list[str] = []

    def accept(dialog: Any) -> None:
        said.append(dialog.message)
        dialog.accept()

    page.on("dialog", accept)
    page.get_by_label("Delete the document inner one.txt").click()
    expect(page.locator("#documents")).not_to_contain_text("inner")
    assert said == ["Delete “birds.zip”, with all that was in it, from the index?"]
    expect(page.locator("#documents .open").first).to_be_focused()

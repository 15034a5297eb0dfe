"""The web, as far as it is on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import Connector, Source, connect
from connectors.feed import Feed
from connectors.http import Fetcher, checked_url, is_public
from connectors.web import Web
from rag import Pipeline
from rag.errors import SourceError, SourceNotFound, SourceUnreadable
from tests.connectors.servers import Page, Site, site


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as made:
        yield made


def page(text: str, *links: str) -> str:
    shown = "".join(f"<a href='{link}'>x</a>" for link in links)
    return f"<html lang='en'><head><title>{text}</title></head><body><p>{text} stands here.</p>{shown}</body></html>"


def found(connector: Connector) -> list[Source]:
    return list(connector.sources())


def paths(web: Site, connector: Connector) -> list[str]:
    return [source.uri.removeprefix(web.url) for source in found(connector)]


def open_web(**settings: Any) -> Web:
    return Web(**{"delay": 0, "allow_private": True, **settings})


# -- pages ---------------------------------------------------------------------------------


def test_pages_are_versioned_by_what_the_server_says(web: Site) -> None:
    web["/a"] = Page(page("One"), headers={"ETag": '"1"'})
    web["/b"] = Page(page("Two"), headers={"Last-Modified": "Wed, 01 May 2024 10:00:00 GMT"})
    web["/c"] = page("Three")
    sources = found(open_web(urls=(f"{web.url}/a", f"{web.url}/b#part", f"{web.url}/c")))
    assert [s.version for s in sources] == ['"1"', "Wed, 01 May 2024 10:00:00 GMT", ""]
    assert [s.uri for s in sources] == [f"{web.url}/{x}" for x in "abc"]
    assert b"One" in sources[0].read()
    assert sources[0].mime == "text/html"


def test_what_has_not_changed_is_not_fetched(web: Site, tmp_path: Path) -> None:
    web["/a"] = Page(page("One"), headers={"ETag": '"1"'})
    web["/b"] = page("Two")
    connector = open_web(urls=(f"{web.url}/a", f"{web.url}/b"))
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(connector).added == 2
        web.asked.clear()
        assert pipeline.ingest(connector).unchanged == 2
        assert web.gets() == ["/robots.txt", "/b"]  # of which nothing is known
        web["/a"] = Page(page("One, again"), headers={"ETag": '"2"'})
        assert pipeline.ingest(connector).updated == 1
        assert "One, again" in pipeline.document(f"{web.url}/a").text
        document = pipeline.document(f"{web.url}/b")
        assert (document.title, document.metadata["language"]) == ("Two", "en")
        del web.pages["/a"]
        report = pipeline.ingest(connector)
        assert [f.error for f in report.failed] == ["there is no such page (404)"]
        assert pipeline.stats().documents == 2


def test_a_server_that_knows_no_head(web: Site) -> None:
    web["/a"] = Page("plain", mime="text/plain")
    (source,) = found(open_web(urls=(f"{web.url}/a",)))
    web["/a"] = lambda: Page("no", status=405) if web.asked[-1][0] == "HEAD" else Page("plain")
    (again,) = found(open_web(urls=(f"{web.url}/a",)))
    assert source.read() == again.read() == b"plain"
    assert again.version == ""


def test_redirects_are_followed_and_named(web: Site) -> None:
    web["/a"] = Page(status=302, headers={"Location": "/b?x=1#y"})
    web["/b?x=1"] = page("Two")
    web["/loop"] = Page(status=301, headers={"Location": "/loop"})
    (source,) = found(open_web(urls=(f"{web.url}/a",)))
    assert (source.uri, source.metadata) == (f"{web.url}/a", {"redirected_to": f"{web.url}/b?x=1"})
    assert b"Two" in source.read()
    (source,) = found(open_web(urls=(f"{web.url}/loop",)))
    with pytest.raises(SourceUnreadable, match="more than 10 redirects"):
        source.read()


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (404, SourceError, "no such page"),
        (403, SourceError, "does not let us in"),
        (500, SourceUnreadable, "answers 500"),
    ],
)
def test_what_cannot_be_fetched(
    web: Site, status: int, kind: type[SourceError], message: str
) -> None:
    web["/a"] = Page(status=status)
    (source,) = found(open_web(urls=(f"{web.url}/a",)))
    with pytest.raises(kind, match=message):
        source.read()


def test_a_page_that_is_too_large(web: Site) -> None:
    web["/a"] = b"x" * 2_000
    (source,) = found(open_web(urls=(f"{web.url}/a",), max_bytes=1_000))
    with pytest.raises(SourceError, match=r"more than 1,000 bytes \(max_bytes\)"):
        source.read()


def test_a_server_that_is_busy_is_asked_again(web: Site) -> None:
    answers = [Page(status=503, headers={"Retry-After": "0"}), Page(page("One"))]
    web["/a"] = lambda: answers.pop(0) if len(answers) > 1 else answers[0]
    (source,) = found(open_web(urls=(f"{web.url}/a",), robots=False))
    assert b"One" in source.read()
    assert [path for _, path in web.asked] == ["/a", "/a", "/a"]


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        (source,) = found(open_web(urls=(url,)))
        with pytest.raises(SourceUnreadable, match="cannot be asked"):
            source.read()


# -- manners -------------------------------------------------------------------------------


def test_robots_txt_is_obeyed(web: Site) -> None:
    web["/robots.txt"] = Page("User-agent: *\nDisallow: /private/*.html$\n", mime="text/plain")
    web["/private/a.html"] = web["/private/a.txt"] = page("One")
    url = f"{web.url}/private/a.html"
    (source,) = found(open_web(urls=(url,)))
    with pytest.raises(SourceError, match=r"robots\.txt does not allow it"):
        source.read()
    assert "/private/a.html" not in web.gets()
    (source,) = found(open_web(urls=(f"{web.url}/private/a.txt",)))
    assert source.read()
    (source,) = found(open_web(urls=(url,), robots=False))
    assert source.read()


def test_a_robots_txt_that_cannot_be_read_closes_the_site(web: Site) -> None:
    web["/robots.txt"] = Page(status=500)
    web["/a"] = page("One")
    (source,) = found(open_web(urls=(f"{web.url}/a",)))
    with pytest.raises(SourceUnreadable, match=r"robots\.txt cannot be read"):
        source.read()


def test_requests_to_a_host_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("connectors.http.time.monotonic", lambda: now[0])
    monkeypatch.setattr("connectors.http.time.sleep", sleep)
    fetcher = Fetcher(2.0, True, True, 5.0, 1_000)
    for url in ("http://a/1", "http://a/2", "http://b/1", "http://a/3"):
        fetcher._wait(url)
    assert slept == [2.0, 2.0]


# -- where one may not go ------------------------------------------------------------------


def test_private_addresses_are_refused(web: Site, tmp_path: Path) -> None:
    web["/a"] = page("One")
    (source,) = found(Web(urls=(f"{web.url}/a",), delay=0))
    with pytest.raises(SourceNotFound, match=r"private network.*--allow-private"):
        source.read()
    assert web.asked == []


def test_a_redirect_into_a_private_network_is_refused(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first address passes for one of the open internet."""
    web["/a"] = Page(status=302, headers={"Location": f"{web.url}/secret"})
    web["/secret"] = page("Secret")
    port = web.url.rpartition(":")[2]
    first: list[str] = []

    def public(address: str) -> bool:
        first.append(address)
        return len(first) == 1

    monkeypatch.setattr("connectors.http.is_public", public)
    (source,) = found(Web(urls=(f"http://localhost:{port}/a",), delay=0, robots=False))
    with pytest.raises(SourceNotFound, match="private network"):
        source.read()
    assert "/secret" not in web.gets()


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere the second time it is looked up."""
    web["/a"] = page("One")
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "rebinding.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    port = web.url.rpartition(":")[2]
    url = f"http://rebinding.example:{port}/a"
    (source,) = found(Web(urls=(url,), delay=0, robots=False))
    with pytest.raises(SourceNotFound, match="private network"):
        source.read()
    (source,) = found(open_web(urls=(url,), robots=False))
    asked.clear()
    assert b"One" in source.read()
    assert asked.count("rebinding.example") <= 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        *((a, False) for a in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254")),
        *((a, False) for a in ("100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1")),
        *((a, False) for a in ("::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1")),
        *((a, False) for a in ("2002:7f00:1::", "::", "ff02::1", "::127.0.0.1", "fec0::1")),
        *((a, False) for a in ("64:ff9b:1::7f00:1", "::ffff:0:a9fe:a9fe", "3fff::1", "5f00::1")),
    ],
)  # fmt: skip
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "file:///etc/passwd", "http://", "http://u:p@a/", "http://[::1", "x"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(SourceNotFound):
        checked_url(url)


@given(st.text(max_size=50))
def test_addresses_have_one_form(text: str) -> None:
    try:
        url = checked_url(f"http://example.org/{text}")
    except SourceNotFound:
        return
    assert checked_url(url) == url


def test_addresses_are_normal() -> None:
    assert checked_url("HTTP://Example.ORG:80#x") == "http://example.org/"
    assert checked_url("https://a:8443/b?c#d") == "https://a:8443/b?c"


# -- sitemaps and crawls -------------------------------------------------------------------


def sitemap(*entries: tuple[str, str], kind: str = "url") -> Page:
    body = "".join(
        f"<{kind}><loc>{url}</loc>{f'<lastmod>{at}</lastmod>' if at else ''}</{kind}>"
        for url, at in entries
    )
    root = "urlset" if kind == "url" else "sitemapindex"
    xml = f"<?xml version='1.0'?><{root} xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>{body}</{root}>"
    return Page(xml, mime="application/xml")


def test_a_sitemap(web: Site, tmp_path: Path) -> None:
    web["/docs/sitemap.xml"] = sitemap((f"{web.url}/docs/more.xml", ""), kind="sitemap")
    web["/docs/more.xml"] = sitemap(
        (f"{web.url}/docs/a", "2024-05-01T10:00:00Z"),
        (f"{web.url}/docs/b", "2024-05-01"),
        (f"{web.url}/docs/gone", ""),
        (f"{web.url}/elsewhere", ""),
    )
    web["/docs/a"], web["/docs/b"] = page("One"), page("Two")
    connector = connect(f"{web.url}/docs/sitemap.xml", allow_private=True)
    connector = connector.model_copy(update={"delay": 0.0})
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        report = pipeline.ingest(connector)
        assert report.added == 2
        assert [f.uri for f in report.failed] == [f"{web.url}/elsewhere"]
        web.asked.clear()
        assert pipeline.ingest(connector).unchanged == 2
        assert "/docs/a" not in web.gets()  # its date is exact
        web["/docs/more.xml"] = sitemap((f"{web.url}/docs/b", "2024-05-01"))
        assert pipeline.ingest(connector).deleted == 1
        web["/docs/more.xml"] = Page(status=500)
        assert pipeline.ingest(connector).deleted == 0


def test_a_crawl_stays_on_its_site(web: Site, tmp_path: Path) -> None:
    web["/docs/"] = page(
        "Start", "a", "/docs/b?x=1#y", "/other", "http://example.org/", "mailto:x@y"
    )
    web["/docs/a"] = page("One", "deep/", "c.png", "/docs/")
    web["/docs/b?x=1"] = page("Two", "missing")
    web["/docs/deep/"] = page("Three", "deeper")
    web["/docs/deep/deeper"] = page("Four")
    web["/docs/c.png"] = Page(b"\x89PNG", mime="image/png")
    connector = open_web(crawl=f"{web.url}/docs/", depth=2)
    assert paths(web, connector) == ["/docs/", "/docs/a", "/docs/b?x=1", "/docs/deep/"]
    assert "/other" not in web.gets()
    web["/docs/b?x=1"] = Page(status=500)
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        pipeline.ingest(connector)
        del web.pages["/docs/a"]
        assert pipeline.ingest(connector).deleted == 0  # /docs/b may have led to more
        web["/docs/b?x=1"] = page("Two")
        assert pipeline.ingest(connector).deleted == 2


def test_a_crawl_lists_no_page_under_two_names(web: Site) -> None:
    web["/docs/"] = page("Start", "home", "a")
    web["/docs/home"] = Page(status=301, headers={"Location": "/docs/"})
    web["/docs/a"] = page("One")
    assert paths(web, open_web(crawl=f"{web.url}/docs/")) == ["/docs/", "/docs/a"]


def test_a_crawl_ends(web: Site) -> None:
    for i in range(30):
        web[f"/{i}"] = page(f"Page {i}", f"/{i + 1}", f"/{i}?again={i}")
    web["/"] = page("Start", "/0")
    sources = found(open_web(crawl=f"{web.url}/", max_pages=10, depth=100, exclude=("*again*",)))
    assert len(sources) == 11
    with pytest.raises(SourceUnreadable, match="ended at 10 pages"):
        sources[-1].read()


def test_a_crawl_that_leads_away_says_so(web: Site) -> None:
    web["/docs/"] = Page(status=301, headers={"Location": "/new/"})
    web["/new/"] = page("Start")
    with pytest.raises(SourceNotFound, match=r"leads to .*/new/: crawl that"):
        found(open_web(crawl=f"{web.url}/docs/"))


def test_places_of_the_web_delete_nothing_of_each_other(web: Site, tmp_path: Path) -> None:
    web["/sitemap.xml"] = sitemap((f"{web.url}/a", ""), (f"{web.url}/b", ""))
    web["/"] = page("Start", "/a", "/c")
    for name in "abcd":
        web[f"/{name}"] = page(f"Page {name}")
    mapped, crawled = open_web(sitemap=f"{web.url}/sitemap.xml"), open_web(crawl=f"{web.url}/")
    named = open_web(urls=(f"{web.url}/d",))
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        for connector in (named, mapped, crawled, named, mapped, crawled):
            assert pipeline.ingest(connector).deleted == 0
        assert pipeline.stats().documents == 5
        web["/"] = page("Start", "/a")
        assert pipeline.ingest(crawled).deleted == 1  # /c is the crawl's own
        web["/sitemap.xml"] = sitemap((f"{web.url}/d", ""))
        assert pipeline.ingest(mapped).deleted == 2


@pytest.mark.parametrize(
    "broken", [page("Down for maintenance"), "<urlset><url><loc>http://x/", "", b"\x1f\x8bxx"]
)
def test_a_sitemap_that_is_none_deletes_nothing(
    web: Site, tmp_path: Path, broken: str | bytes
) -> None:
    web["/sitemap.xml"] = sitemap((f"{web.url}/a", ""))
    web["/a"] = page("One")
    connector = open_web(sitemap=f"{web.url}/sitemap.xml")
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(connector).added == 1
        web["/sitemap.xml"] = broken
        with pytest.raises(SourceNotFound):
            pipeline.ingest(connector)
        web["/sitemap.xml"] = sitemap((f"{web.url}/more.xml", ""), kind="sitemap")
        web["/more.xml"] = broken
        report = pipeline.ingest(connector)
        assert (report.deleted, len(report.failed)) == (0, 1)


def test_a_crawl_names_pages_that_it_may_not_see(web: Site, tmp_path: Path) -> None:
    web["/"] = page("Start", "/a", "/b", "/c")
    web["/a"], web["/b"], web["/c"] = page("One"), page("Two"), page("Three")
    connector = open_web(crawl=f"{web.url}/", max_bytes=10_000)
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(connector).added == 4
        web["/a"], web["/b"] = page("x" * 20_000), Page(status=403)
        web["/robots.txt"] = Page("User-agent: *\nDisallow: /c\n", mime="text/plain")
        report = pipeline.ingest(connector)
        assert sorted(f.uri.rpartition("/")[2] for f in report.failed) == ["a", "b"]
        assert report.deleted == 0


def test_a_page_that_is_packed_is_bounded(web: Site) -> None:
    import gzip

    web["/a"] = Page(gzip.compress(page("One").encode()), headers={"Content-Encoding": "gzip"})
    web["/bomb"] = Page(gzip.compress(bytes(2**26)), headers={"Content-Encoding": "gzip"})
    web["/twice"] = Page(b"x", headers={"Content-Encoding": "gzip, gzip"})
    web["/cut"] = Page(b"x" * 10, headers={"Content-Encoding": "gzip"})
    web["/short"] = Page(
        gzip.compress(page("One").encode())[:-4], headers={"Content-Encoding": "gzip"}
    )
    urls = tuple(f"{web.url}/{name}" for name in ("a", "bomb", "twice", "cut", "short"))
    first, *rest = found(open_web(urls=urls, max_bytes=2**20))
    assert b"One" in first.read()
    for source, message in zip(
        rest, ("more than", "not asked for", "unpacked", "ends too soon"), strict=True
    ):
        with pytest.raises(SourceError, match=message):
            source.read()


def test_a_server_that_is_endlessly_slow(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    web["/a"] = page("One")
    (source,) = found(open_web(urls=(f"{web.url}/a",), robots=False))
    monkeypatch.setattr("connectors.http._LONGEST_DOWNLOAD", -1.0)
    with pytest.raises(SourceUnreadable, match="takes more than"):
        source.read()


# -- feeds ---------------------------------------------------------------------------------

RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>{}</channel></rss>"""
ITEM = "<item><title>{0}</title><link>{1}</link><description>&lt;p&gt;{2}&lt;/p&gt;</description><category>tea</category></item>"


def test_a_feed(web: Site, tmp_path: Path) -> None:
    items = [
        ITEM.format(f"Title {i}", f"https://example.org/{i}", f"The text of entry {i} is here.")
        for i in range(3)
    ]
    web["/news.xml"] = Page(RSS.format("".join(items)), mime="application/rss+xml")
    connector = connect(f"feed+{web.url}/news.xml", allow_private=True)
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(connector).added == 3
        (document,) = [
            pipeline.document(uri)
            for uri in pipeline.open().document_store.uris()
            if pipeline.document(uri).metadata["link"] == "https://example.org/1"
        ]
        assert "The text of entry 1 is here." in document.text
        assert document.title == "Title 1"
        assert (document.metadata["feed"], document.metadata["tags"]) == ("News", ("tea",))
        changed = items[1].replace("entry 1 is", "entry 1 was")
        web["/news.xml"] = Page(RSS.format(changed), mime="application/rss+xml")
        report = pipeline.ingest(connector)
        assert (report.updated, report.deleted) == (1, 0)


def test_what_is_no_feed(web: Site) -> None:
    web["/x"] = page("One")
    with pytest.raises(SourceNotFound, match="is no feed"):
        found(Feed(url=f"{web.url}/x", allow_private=True))
    with pytest.raises(SourceNotFound, match="private network"):
        found(Feed(url=f"{web.url}/x"))

"""The web connector, the HTTP client and feeds, tested with a server on loopback."""

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
from connectors.http import Fetcher, is_public, normalize_url
from connectors.web import Web
from rag import Pipeline
from rag.errors import SourceError, SourceNotFound, SourceUnreadable
from tests.connectors.servers import Page, Site, serve_site


@pytest.fixture
def web() -> Iterator[Site]:
    with serve_site() as served_site:
        yield served_site


def write_page(text: str, *links: str) -> str:
    link_html = "".join(f"<a href='{link}'>x</a>" for link in links)
    return f"<html lang='en'><head><title>{text}</title></head><body><p>{text} is here.</p>{link_html}</body></html>"


def list_sources(connector: Connector) -> list[Source]:
    return list(connector.sources())


def list_paths(web: Site, connector: Connector) -> list[str]:
    return [source.uri.removeprefix(web.url) for source in list_sources(connector)]


def make_web(**settings: Any) -> Web:
    return Web(**{"delay": 0, "allow_private": True, **settings})


# -- pages ---------------------------------------------------------------------------------


def test_version_of_a_page_comes_from_its_headers(web: Site) -> None:
    web["/a"] = Page(write_page("One"), headers={"ETag": '"1"'})
    web["/b"] = Page(write_page("Two"), headers={"Last-Modified": "Wed, 01 May 2024 10:00:00 GMT"})
    web["/c"] = write_page("Three")
    sources = list_sources(make_web(urls=(f"{web.url}/a", f"{web.url}/b#part", f"{web.url}/c")))
    assert [s.version for s in sources] == ['"1"', "Wed, 01 May 2024 10:00:00 GMT", ""]
    assert [s.uri for s in sources] == [f"{web.url}/{x}" for x in "abc"]
    assert b"One" in sources[0].read()
    assert sources[0].mime == "text/html"


def test_unchanged_pages_are_not_fetched_again(web: Site, tmp_path: Path) -> None:
    web["/a"] = Page(write_page("One"), headers={"ETag": '"1"'})
    web["/b"] = write_page("Two")
    connector = make_web(urls=(f"{web.url}/a", f"{web.url}/b"))
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(connector).added == 2
        web.requests.clear()
        assert pipeline.ingest(connector).unchanged == 2
        assert web.list_gets() == ["/robots.txt", "/b"]  # it has no version
        web["/a"] = Page(write_page("One, again"), headers={"ETag": '"2"'})
        assert pipeline.ingest(connector).updated == 1
        assert "One, again" in pipeline.document(f"{web.url}/a").text
        document = pipeline.document(f"{web.url}/b")
        assert (document.title, document.metadata["language"]) == ("Two", "en")
        del web.pages["/a"]
        report = pipeline.ingest(connector)
        assert [f.error for f in report.failed] == ["the page does not exist (status 404)"]
        assert pipeline.stats().documents == 2


def test_a_server_without_head_requests_is_supported(web: Site) -> None:
    web["/a"] = Page("plain", mime="text/plain")
    (source,) = list_sources(make_web(urls=(f"{web.url}/a",)))
    web["/a"] = lambda: Page("no", status=405) if web.requests[-1][0] == "HEAD" else Page("plain")
    (second_source,) = list_sources(make_web(urls=(f"{web.url}/a",)))
    assert source.read() == second_source.read() == b"plain"
    assert second_source.version == ""


def test_redirects_are_followed_and_recorded_in_the_metadata(web: Site) -> None:
    web["/a"] = Page(status=302, headers={"Location": "/b?x=1#y"})
    web["/b?x=1"] = write_page("Two")
    web["/loop"] = Page(status=301, headers={"Location": "/loop"})
    (source,) = list_sources(make_web(urls=(f"{web.url}/a",)))
    assert (source.uri, source.metadata) == (f"{web.url}/a", {"redirected_to": f"{web.url}/b?x=1"})
    assert b"Two" in source.read()
    (source,) = list_sources(make_web(urls=(f"{web.url}/loop",)))
    with pytest.raises(SourceUnreadable, match="more than 10 redirects"):
        source.read()


@pytest.mark.parametrize(
    ("status", "error_type", "message"),
    [
        (404, SourceError, "page does not exist"),
        (403, SourceError, "denies access"),
        (500, SourceUnreadable, "status 500"),
    ],
)
def test_http_errors_fail_the_page(
    web: Site, status: int, error_type: type[SourceError], message: str
) -> None:
    web["/a"] = Page(status=status)
    (source,) = list_sources(make_web(urls=(f"{web.url}/a",)))
    with pytest.raises(error_type, match=message):
        source.read()


def test_a_page_over_max_bytes_fails(web: Site) -> None:
    web["/a"] = b"x" * 2_000
    (source,) = list_sources(make_web(urls=(f"{web.url}/a",), max_bytes=1_000))
    with pytest.raises(SourceError, match=r"more than 1,000 bytes \(max_bytes\)"):
        source.read()


def test_a_busy_server_is_retried(web: Site) -> None:
    answers = [Page(status=503, headers={"Retry-After": "0"}), Page(write_page("One"))]
    web["/a"] = lambda: answers.pop(0) if len(answers) > 1 else answers[0]
    (source,) = list_sources(make_web(urls=(f"{web.url}/a",), robots=False))
    assert b"One" in source.read()
    assert [path for _, path in web.requests] == ["/a", "/a", "/a"]


def test_an_unreachable_server_fails_the_page() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        (source,) = list_sources(make_web(urls=(url,)))
        with pytest.raises(SourceUnreadable, match="cannot be reached"):
            source.read()


# -- robots.txt and rate limit -------------------------------------------------------------------------------


def test_robots_txt_is_obeyed(web: Site) -> None:
    web["/robots.txt"] = Page("User-agent: *\nDisallow: /private/*.html$\n", mime="text/plain")
    web["/private/a.html"] = web["/private/a.txt"] = write_page("One")
    url = f"{web.url}/private/a.html"
    (source,) = list_sources(make_web(urls=(url,)))
    with pytest.raises(SourceError, match=r"robots\.txt of the site does not allow it"):
        source.read()
    assert "/private/a.html" not in web.list_gets()
    (source,) = list_sources(make_web(urls=(f"{web.url}/private/a.txt",)))
    assert source.read()
    (source,) = list_sources(make_web(urls=(url,), robots=False))
    assert source.read()


def test_an_unreadable_robots_txt_excludes_the_whole_site(web: Site) -> None:
    web["/robots.txt"] = Page(status=500)
    web["/a"] = write_page("One")
    (source,) = list_sources(make_web(urls=(f"{web.url}/a",)))
    with pytest.raises(SourceUnreadable, match=r"robots\.txt of the site cannot be read"):
        source.read()


def test_requests_to_one_host_are_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    current_time, sleeps = [100.0], []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        current_time[0] += seconds

    monkeypatch.setattr("connectors.http.time.monotonic", lambda: current_time[0])
    monkeypatch.setattr("connectors.http.time.sleep", sleep)
    fetcher = Fetcher(2.0, True, True, 5.0, 1_000)
    for url in ("http://a/1", "http://a/2", "http://b/1", "http://a/3"):
        fetcher._wait_for_turn(url)
    assert sleeps == [2.0, 2.0]


# -- private addresses ------------------------------------------------------------------


def test_private_addresses_are_refused(web: Site, tmp_path: Path) -> None:
    web["/a"] = write_page("One")
    (source,) = list_sources(Web(urls=(f"{web.url}/a",), delay=0))
    with pytest.raises(SourceNotFound, match=r"private address.*--allow-private"):
        source.read()
    assert web.requests == []


def test_a_redirect_into_a_private_network_is_refused(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first address is treated as public."""
    web["/a"] = Page(status=302, headers={"Location": f"{web.url}/secret"})
    web["/secret"] = write_page("Secret")
    port = web.url.rpartition(":")[2]
    checked_addresses: list[str] = []

    def is_first_address(address: str) -> bool:
        checked_addresses.append(address)
        return len(checked_addresses) == 1

    monkeypatch.setattr("connectors.http.is_public", is_first_address)
    (source,) = list_sources(Web(urls=(f"http://localhost:{port}/a",), delay=0, robots=False))
    with pytest.raises(SourceNotFound, match="private address"):
        source.read()
    assert "/secret" not in web.list_gets()


def test_the_client_connects_to_the_address_that_was_checked(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host name that resolves differently the second time (DNS rebinding)."""
    web["/a"] = write_page("One")
    resolved_hosts: list[str] = []
    original_getaddrinfo = socket.getaddrinfo

    def resolve_to_loopback(host: str, *args: Any, **kwargs: Any) -> Any:
        resolved_hosts.append(host)
        return original_getaddrinfo(
            "127.0.0.1" if host == "rebinding.example" else host, *args, **kwargs
        )

    monkeypatch.setattr(socket, "getaddrinfo", resolve_to_loopback)
    port = web.url.rpartition(":")[2]
    url = f"http://rebinding.example:{port}/a"
    (source,) = list_sources(Web(urls=(url,), delay=0, robots=False))
    with pytest.raises(SourceNotFound, match="private address"):
        source.read()
    (source,) = list_sources(make_web(urls=(url,), robots=False))
    resolved_hosts.clear()
    assert b"One" in source.read()
    assert resolved_hosts.count("rebinding.example") <= 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        *((ip, False) for ip in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254")),
        *((ip, False) for ip in ("100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1")),
        *((ip, False) for ip in ("::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1")),
        *((ip, False) for ip in ("2002:7f00:1::", "::", "ff02::1", "::127.0.0.1", "fec0::1")),
        *((ip, False) for ip in ("64:ff9b:1::7f00:1", "::ffff:0:a9fe:a9fe", "3fff::1", "5f00::1")),
    ],
)  # fmt: skip
def test_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "file:///etc/passwd", "http://", "http://u:p@a/", "http://[::1", "x"]
)
def test_invalid_addresses_are_refused(url: str) -> None:
    with pytest.raises(SourceNotFound):
        normalize_url(url)


@given(st.text(max_size=50))
def test_normalizing_an_address_twice_changes_nothing(text: str) -> None:
    try:
        url = normalize_url(f"http://example.org/{text}")
    except SourceNotFound:
        return
    assert normalize_url(url) == url


def test_addresses_are_normalized() -> None:
    assert normalize_url("HTTP://Example.ORG:80#x") == "http://example.org/"
    assert normalize_url("https://a:8443/b?c#d") == "https://a:8443/b?c"


# -- sitemaps and crawls -------------------------------------------------------------------


def sitemap(*entries: tuple[str, str], kind: str = "url") -> Page:
    body = "".join(
        f"<{kind}><loc>{url}</loc>{f'<lastmod>{last_modified}</lastmod>' if last_modified else ''}</{kind}>"
        for url, last_modified in entries
    )
    root = "urlset" if kind == "url" else "sitemapindex"
    xml = f"<?xml version='1.0'?><{root} xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>{body}</{root}>"
    return Page(xml, mime="application/xml")


def test_a_sitemap_lists_its_pages(web: Site, tmp_path: Path) -> None:
    web["/docs/sitemap.xml"] = sitemap((f"{web.url}/docs/more.xml", ""), kind="sitemap")
    web["/docs/more.xml"] = sitemap(
        (f"{web.url}/docs/a", "2024-05-01T10:00:00Z"),
        (f"{web.url}/docs/b", "2024-05-01"),
        (f"{web.url}/docs/gone", ""),
        (f"{web.url}/elsewhere", ""),
    )
    web["/docs/a"], web["/docs/b"] = write_page("One"), write_page("Two")
    connector = connect(f"{web.url}/docs/sitemap.xml", allow_private=True)
    connector = connector.model_copy(update={"delay": 0.0})
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        report = pipeline.ingest(connector)
        assert report.added == 2
        assert [f.uri for f in report.failed] == [f"{web.url}/elsewhere"]
        web.requests.clear()
        assert pipeline.ingest(connector).unchanged == 2
        assert "/docs/a" not in web.list_gets()  # its date has a time
        web["/docs/more.xml"] = sitemap((f"{web.url}/docs/b", "2024-05-01"))
        assert pipeline.ingest(connector).deleted == 1
        web["/docs/more.xml"] = Page(status=500)
        assert pipeline.ingest(connector).deleted == 0


def test_a_crawl_stays_on_its_site(web: Site, tmp_path: Path) -> None:
    web["/docs/"] = write_page(
        "Start", "a", "/docs/b?x=1#y", "/other", "http://example.org/", "mailto:x@y"
    )
    web["/docs/a"] = write_page("One", "deep/", "c.png", "/docs/")
    web["/docs/b?x=1"] = write_page("Two", "missing")
    web["/docs/deep/"] = write_page("Three", "deeper")
    web["/docs/deep/deeper"] = write_page("Four")
    web["/docs/c.png"] = Page(b"\x89PNG", mime="image/png")
    connector = make_web(crawl=f"{web.url}/docs/", depth=2)
    assert list_paths(web, connector) == ["/docs/", "/docs/a", "/docs/b?x=1", "/docs/deep/"]
    assert "/other" not in web.list_gets()
    web["/docs/b?x=1"] = Page(status=500)
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        pipeline.ingest(connector)
        del web.pages["/docs/a"]
        assert pipeline.ingest(connector).deleted == 0  # /docs/b may have led to more
        web["/docs/b?x=1"] = write_page("Two")
        assert pipeline.ingest(connector).deleted == 2


def test_a_crawl_lists_a_redirected_page_once(web: Site) -> None:
    web["/docs/"] = write_page("Start", "home", "a")
    web["/docs/home"] = Page(status=301, headers={"Location": "/docs/"})
    web["/docs/a"] = write_page("One")
    assert list_paths(web, make_web(crawl=f"{web.url}/docs/")) == ["/docs/", "/docs/a"]


def test_a_crawl_stops_at_max_pages(web: Site) -> None:
    for i in range(30):
        web[f"/{i}"] = write_page(f"Page {i}", f"/{i + 1}", f"/{i}?again={i}")
    web["/"] = write_page("Start", "/0")
    sources = list_sources(
        make_web(crawl=f"{web.url}/", max_pages=10, depth=100, exclude=("*again*",))
    )
    assert len(sources) == 11
    with pytest.raises(SourceUnreadable, match="stopped after 10 pages"):
        sources[-1].read()


def test_a_crawl_that_is_redirected_out_of_its_scope_fails(web: Site) -> None:
    web["/docs/"] = Page(status=301, headers={"Location": "/new/"})
    web["/new/"] = write_page("Start")
    with pytest.raises(SourceNotFound, match=r"redirects to .*/new/; crawl that"):
        list_sources(make_web(crawl=f"{web.url}/docs/"))


def test_web_connectors_do_not_delete_documents_of_each_other(web: Site, tmp_path: Path) -> None:
    web["/sitemap.xml"] = sitemap((f"{web.url}/a", ""), (f"{web.url}/b", ""))
    web["/"] = write_page("Start", "/a", "/c")
    for name in "abcd":
        web[f"/{name}"] = write_page(f"Page {name}")
    sitemap_connector, crawl_connector = (
        make_web(sitemap=f"{web.url}/sitemap.xml"),
        make_web(crawl=f"{web.url}/"),
    )
    url_connector = make_web(urls=(f"{web.url}/d",))
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        for connector in (url_connector, sitemap_connector, crawl_connector) * 2:
            assert pipeline.ingest(connector).deleted == 0
        assert pipeline.stats().documents == 5
        web["/"] = write_page("Start", "/a")
        assert pipeline.ingest(crawl_connector).deleted == 1  # the crawl owns /c
        web["/sitemap.xml"] = sitemap((f"{web.url}/d", ""))
        assert pipeline.ingest(sitemap_connector).deleted == 2


@pytest.mark.parametrize(
    "broken", [write_page("Down for maintenance"), "<urlset><url><loc>http://x/", "", b"\x1f\x8bxx"]
)
def test_an_invalid_sitemap_deletes_nothing(web: Site, tmp_path: Path, broken: str | bytes) -> None:
    web["/sitemap.xml"] = sitemap((f"{web.url}/a", ""))
    web["/a"] = write_page("One")
    connector = make_web(sitemap=f"{web.url}/sitemap.xml")
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(connector).added == 1
        web["/sitemap.xml"] = broken
        with pytest.raises(SourceNotFound):
            pipeline.ingest(connector)
        web["/sitemap.xml"] = sitemap((f"{web.url}/more.xml", ""), kind="sitemap")
        web["/more.xml"] = broken
        report = pipeline.ingest(connector)
        assert (report.deleted, len(report.failed)) == (0, 1)


def test_a_crawl_reports_pages_it_cannot_fetch_and_deletes_nothing(
    web: Site, tmp_path: Path
) -> None:
    web["/"] = write_page("Start", "/a", "/b", "/c")
    web["/a"], web["/b"], web["/c"] = write_page("One"), write_page("Two"), write_page("Three")
    connector = make_web(crawl=f"{web.url}/", max_bytes=10_000)
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(connector).added == 4
        web["/a"], web["/b"] = write_page("x" * 20_000), Page(status=403)
        web["/robots.txt"] = Page("User-agent: *\nDisallow: /c\n", mime="text/plain")
        report = pipeline.ingest(connector)
        assert sorted(f.uri.rpartition("/")[2] for f in report.failed) == ["a", "b"]
        assert report.deleted == 0


def test_compressed_pages_are_limited_in_size(web: Site) -> None:
    import gzip

    web["/a"] = Page(
        gzip.compress(write_page("One").encode()), headers={"Content-Encoding": "gzip"}
    )
    web["/bomb"] = Page(gzip.compress(bytes(2**26)), headers={"Content-Encoding": "gzip"})
    web["/twice"] = Page(b"x", headers={"Content-Encoding": "gzip, gzip"})
    web["/cut"] = Page(b"x" * 10, headers={"Content-Encoding": "gzip"})
    web["/short"] = Page(
        gzip.compress(write_page("One").encode())[:-4], headers={"Content-Encoding": "gzip"}
    )
    urls = tuple(f"{web.url}/{name}" for name in ("a", "bomb", "twice", "cut", "short"))
    valid_source, *invalid_sources = list_sources(make_web(urls=urls, max_bytes=2**20))
    assert b"One" in valid_source.read()
    for source, message in zip(
        invalid_sources, ("more than", "not requested", "unpacked", "incomplete"), strict=True
    ):
        with pytest.raises(SourceError, match=message):
            source.read()


def test_a_slow_download_is_stopped(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    web["/a"] = write_page("One")
    (source,) = list_sources(make_web(urls=(f"{web.url}/a",), robots=False))
    monkeypatch.setattr("connectors.http._MAX_DOWNLOAD_SECONDS", -1.0)
    with pytest.raises(SourceUnreadable, match="takes more than"):
        source.read()


# -- feeds ---------------------------------------------------------------------------------

RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>{}</channel></rss>"""
ITEM = "<item><title>{0}</title><link>{1}</link><description>&lt;p&gt;{2}&lt;/p&gt;</description><category>tea</category></item>"


def test_a_feed_lists_its_entries(web: Site, tmp_path: Path) -> None:
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
        changed_item = items[1].replace("entry 1 is", "entry 1 was")
        web["/news.xml"] = Page(RSS.format(changed_item), mime="application/rss+xml")
        report = pipeline.ingest(connector)
        assert (report.updated, report.deleted) == (1, 0)


def test_a_page_that_is_not_a_feed_is_refused(web: Site) -> None:
    web["/x"] = write_page("One")
    with pytest.raises(SourceNotFound, match="is not an RSS or Atom feed"):
        list_sources(Feed(url=f"{web.url}/x", allow_private=True))
    with pytest.raises(SourceNotFound, match="private address"):
        list_sources(Feed(url=f"{web.url}/x"))

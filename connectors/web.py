"""Web pages: listed addresses, the pages of a sitemap, or the pages of a site."""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urljoin, urlsplit

from pydantic import Field, field_validator, model_validator

from connectors.base import Connector, Source
from rag.errors import SourceError, SourceNotFound, SourceUnreadable

if TYPE_CHECKING:
    from connectors.http import Fetcher, HttpResponse

_MAX_CACHED_PAGE_BYTES = 2**20  # larger pages of a crawl are fetched again when they are read
_MAX_SITEMAPS = 1_000
_MAX_SITEMAP_BYTES = 50 * 2**20  # the limit of the protocol (sitemaps.org)
_LINK_MIMES = (None, "text/html", "application/xhtml+xml")
_SKIPPED_MIME_PREFIXES = ("image/", "video/", "audio/", "font/", "text/css", "text/javascript")


class Web(Connector):
    """Reads web pages: by address (``urls``), from a ``sitemap``, or by a ``crawl``.

    A crawl starts at its address and follows links to pages below the folder of that address, at
    most ``depth`` links away and at most ``max_pages`` pages. ``include`` and ``exclude`` are
    globs over whole addresses; they apply to sitemaps and crawls. The version of a page is its
    ETag or Last-Modified header. There are at least ``delay`` seconds between two requests to a
    host, more if robots.txt says so; ``robots=False`` ignores robots.txt. Private addresses are
    refused unless ``allow_private``. A page larger than ``max_bytes`` fails. ``timeout`` is in
    seconds.
    """

    name: ClassVar[str] = "web"
    examples: ClassVar[tuple[str, ...]] = (
        "https://example.org/page",
        "https://example.org/sitemap.xml",
        "crawl+https://example.org/docs/",
    )
    schemes: ClassVar[tuple[str, ...]] = ("http", "https", "crawl+http", "crawl+https")

    urls: tuple[str, ...] = ()
    sitemap: str = ""
    crawl: str = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    depth: int = Field(5, ge=0)
    max_pages: int = Field(1_000, ge=1)
    delay: float = Field(0.5, ge=0)
    robots: bool = True
    allow_private: bool = False
    max_bytes: int = Field(64 * 2**20, gt=0)
    timeout: float = Field(20.0, gt=0)

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Return the connector for ``https://...`` (a page) or ``crawl+https://...`` (a site).

        A page with "sitemap" in its name and the suffix .xml or .xml.gz is read as a sitemap.
        """
        privacy_options = {"allow_private": bool(options.get("allow_private", False))}
        if uri.lower().startswith("crawl+"):
            return cls(crawl=uri[6:], **privacy_options)
        name = posixpath.basename(urlsplit(uri).path).lower()
        if "sitemap" in name and name.endswith((".xml", ".xml.gz")):
            return cls(sitemap=uri, **privacy_options)
        return cls(urls=(uri,), **privacy_options)

    @field_validator("urls")
    @classmethod
    def _normalize_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_normalize_url(url) for url in urls))

    @field_validator("sitemap", "crawl")
    @classmethod
    def _normalize_optional_url(cls, url: str) -> str:
        return _normalize_url(url) if url else ""

    @model_validator(mode="after")
    def _check_one_mode(self) -> Self:
        if sum(map(bool, (self.urls, self.sitemap, self.crawl))) != 1:
            raise ValueError("set exactly one of urls, sitemap and crawl")
        return self

    @property
    def scope(self) -> str:
        """Common prefix of the addresses; for a sitemap or crawl, the folder of its address."""
        if self.urls:
            return commonprefix(self.urls)  # noqa: RUF071 (a prefix of characters is intended)
        return _find_folder(self.sitemap or self.crawl)

    @property
    def owner_id(self) -> str:
        """The sitemap or crawl. It does not own pages that were listed by another connector."""
        return f"crawl {self.crawl}" if self.crawl else self.sitemap

    def owns(self, uri: str) -> bool:
        """Return whether `uri` is one of the addresses, or one the sitemap or crawl could list."""
        if self.urls:
            return uri in self.urls
        return uri.startswith(self.scope) and self._is_selected(uri)

    def count(self) -> int | None:
        """Return the number of addresses, None for a sitemap or crawl."""
        return len(self.urls) or None

    def sources(self) -> Iterator[Source]:
        """List the pages; a crawl yields them in the order in which it finds them."""
        from connectors.http import Fetcher

        fetcher = Fetcher(self.delay, self.robots, self.allow_private, self.timeout, self.max_bytes)
        if self.crawl:
            yield from self._crawl_site(fetcher)
        elif self.sitemap:
            yield from self._list_sitemap(fetcher)
        else:
            for url in self.urls:
                yield self._request_head(fetcher, url, raise_missing=False)

    def _is_selected(self, url: str) -> bool:
        return any(fnmatchcase(url, glob) for glob in self.include) and not any(
            fnmatchcase(url, glob) for glob in self.exclude
        )

    def _request_head(self, fetcher: Fetcher, url: str, *, raise_missing: bool) -> Source:
        """Make the source of a page, with the version from the headers of a HEAD request.

        Raises `PageMissing` for a page that does not exist if `raise_missing`; otherwise the
        source fails when it is read.
        """
        from connectors.http import PageMissing

        read = partial(_read_page, fetcher, url)
        try:
            response = fetcher.get(url, method="HEAD")
        except PageMissing:
            if raise_missing:
                raise
            return Source(uri=url, version="", read=read)
        except SourceError:  # the GET request will fail with a reason, or succeed
            return Source(uri=url, version="", read=read)
        return _make_source(url, response, read)

    # -- sitemaps --------------------------------------------------------------------------

    def _list_sitemap(self, fetcher: Fetcher) -> Iterator[Source]:
        """List the selected pages of the sitemap."""
        from connectors.http import PageMissing

        for entry in self._read_sitemaps(fetcher):
            if isinstance(entry, Source):
                yield entry
            elif not entry.url.startswith(self.scope):
                reason = f"the sitemap lists a page outside of {self.scope}"
                yield _make_unreadable_source(entry.url, reason, SourceError)
            elif self._is_selected(entry.url):
                if (
                    "T" in entry.last_modified
                ):  # a date with time serves as the version: no HEAD request
                    read = partial(_read_page, fetcher, entry.url)
                    yield Source(uri=entry.url, version=entry.last_modified, read=read)
                else:
                    try:
                        yield self._request_head(fetcher, entry.url, raise_missing=True)
                    except PageMissing:
                        continue

    def _read_sitemaps(self, fetcher: Fetcher) -> Iterator[_SitemapEntry | Source]:
        """Yield the pages of the sitemap and of the sitemaps that it lists."""
        pending_urls, seen_urls = deque([self.sitemap]), {self.sitemap}
        while pending_urls:
            url = pending_urls.popleft()
            try:
                entries = list(_parse_sitemap(fetcher.get(url).body))
            except SourceError as error:
                if url == self.sitemap:
                    raise SourceNotFound(f"{url}: {error}", uri=url) from None
                yield _make_unreadable_source(
                    url, f"the sitemap cannot be read: {error}", protected_prefix=self.scope
                )
                continue
            for is_sitemap, entry in entries:
                if not is_sitemap:
                    yield entry
                elif entry.url not in seen_urls:
                    seen_urls.add(entry.url)
                    if len(seen_urls) <= _MAX_SITEMAPS:
                        pending_urls.append(entry.url)
                    elif len(seen_urls) == _MAX_SITEMAPS + 1:
                        reason = f"more than {_MAX_SITEMAPS:,} sitemaps; the others are not read"
                        yield _make_unreadable_source(
                            entry.url, reason, protected_prefix=self.scope
                        )

    # -- crawls ----------------------------------------------------------------------------

    def _crawl_site(self, fetcher: Fetcher) -> Iterator[Source]:
        """Follow links breadth-first, and list the selected pages."""
        pending_urls = deque([(self.crawl, 0)])
        seen_urls = {self.crawl}
        page_count = 0
        while pending_urls:
            url, distance = pending_urls.popleft()
            if page_count == self.max_pages:
                reason = f"the crawl stopped after {page_count:,} pages (max_pages); there are more"
                yield _make_unreadable_source(
                    f"{self.crawl}#crawl", reason, protected_prefix=self.scope
                )
                return
            response = self._fetch_crawled_page(fetcher, url)
            if response is None:
                continue
            if isinstance(response, Source):
                yield response
                continue
            if response.url != url:  # a redirect
                if response.url in seen_urls:
                    continue
                seen_urls.add(response.url)
            page_count += 1
            if distance < self.depth and response.mime in _LINK_MIMES:
                for link in _extract_links(response):
                    if link not in seen_urls and self._is_followed(link):
                        seen_urls.add(link)
                        pending_urls.append((link, distance + 1))
            mime = response.mime or ""
            if self._is_selected(url) and not mime.startswith(_SKIPPED_MIME_PREFIXES):
                if len(response.body) <= _MAX_CACHED_PAGE_BYTES:
                    yield _make_source(url, response, partial(bytes, response.body))
                else:
                    yield _make_source(url, response, partial(_read_page, fetcher, url))

    def _fetch_crawled_page(self, fetcher: Fetcher, url: str) -> HttpResponse | Source | None:
        """Fetch a page of the crawl.

        Returns None for a page that is skipped, and a failing source for one that could not be
        fetched: the pages that it links to are unknown, so that nothing in the scope is deleted.
        Raises `SourceNotFound` if it is the first page.
        """
        from connectors.http import PageMissing, RobotsDisallowed

        try:
            response = fetcher.get(url)
        except SourceError as error:
            if url == self.crawl:
                raise SourceNotFound(f"{url}: {error}", uri=url) from None
            if isinstance(error, PageMissing | RobotsDisallowed):
                return None
            return _make_unreadable_source(url, str(error), protected_prefix=self.scope)
        if response.url.startswith(self.scope):
            return response
        if url == self.crawl:
            raise SourceNotFound(f"{url} redirects to {response.url}; crawl that address", uri=url)
        return None

    def _is_followed(self, url: str) -> bool:
        """Return whether a page is fetched: for its text, or only for its links."""
        return url.startswith(self.scope) and not any(
            fnmatchcase(url, glob) for glob in self.exclude
        )


@dataclass(frozen=True, slots=True)
class _SitemapEntry:
    url: str
    last_modified: str


def _parse_sitemap(data: bytes) -> Iterator[tuple[bool, _SitemapEntry]]:
    """Yield (is_sitemap, entry) for each entry of a sitemap."""
    from lxml import etree

    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(_MAX_SITEMAP_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"it cannot be unpacked ({error})") from None
        if len(data) > _MAX_SITEMAP_BYTES:
            raise SourceError(f"it is larger than {_MAX_SITEMAP_BYTES:,} bytes")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        # Two common mistakes: white space before the XML, and an unescaped "&".
        data = re.sub(rb"&(?!#?\w{1,20};)", b"&amp;", data.removeprefix(b"\xef\xbb\xbf").lstrip())
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(f"it is incomplete or not XML ({error})") from None
    if etree.QName(root).localname not in ("urlset", "sitemapindex"):
        raise SourceError("it is not a sitemap")
    for element in root:
        name = etree.QName(element).localname if isinstance(element.tag, str) else ""
        fields = {
            etree.QName(c).localname: (c.text or "") for c in element if isinstance(c.tag, str)
        }
        if name in ("url", "sitemap") and fields.get("loc", "").strip():
            try:
                yield (
                    name == "sitemap",
                    _SitemapEntry(_normalize_url(fields["loc"]), fields.get("lastmod", "")),
                )
            except SourceNotFound:
                continue


def _extract_links(page: HttpResponse) -> Iterator[str]:
    from lxml import etree

    try:
        root = etree.HTML(page.body[: 4 * _MAX_CACHED_PAGE_BYTES])
    except (etree.LxmlError, ValueError):
        return
    if root is None:
        return
    base = next((tag.get("href") or "" for tag in root.iter("base")), "")
    for tag in root.iter("a", "area"):
        if "nofollow" not in (tag.get("rel") or ""):
            try:
                yield _normalize_url(
                    urljoin(urljoin(page.url, base), (tag.get("href") or "").strip())
                )
            except (SourceNotFound, ValueError):
                continue


def _make_source(url: str, response: HttpResponse, read: Any) -> Source:
    metadata = {"redirected_to": response.url} if response.url != url else {}
    return Source(
        uri=url, version=response.version, read=read, mime=response.mime, metadata=metadata
    )


def _read_page(fetcher: Fetcher, url: str) -> bytes:
    return fetcher.get(url).body


def _make_unreadable_source(
    url: str,
    reason: str,
    error_type: type[SourceError] = SourceUnreadable,
    protected_prefix: str = "",
) -> Source:
    def read() -> bytes:
        raise error_type(reason)

    return Source(uri=url, version="", read=read, protected_prefix=protected_prefix)


def _normalize_url(url: str) -> str:
    from connectors.http import normalize_url

    return normalize_url(url)


def _find_folder(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path[: parts.path.rindex("/") + 1]
    return parts._replace(path=path, query="").geturl()

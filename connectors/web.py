"""Pages of the web: those that are named, those of a sitemap, or those of a site."""

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
    from connectors.http import Fetched, Fetcher

_KEPT = 2**20  # bytes of a page that are kept from a crawl until it is read
_MOST_SITEMAPS = 1_000
_LARGEST_SITEMAP = 50 * 2**20  # bytes, by the protocol
_NO_PAGES = ("image/", "video/", "audio/", "font/", "text/css", "text/javascript")


class Web(Connector):
    """Pages by their addresses (``urls``), by a ``sitemap``, or found by a ``crawl``.

    A crawl starts at its address and follows links below the folder that this is in, up to
    ``depth`` links away and ``max_pages`` pages. ``include`` and ``exclude`` are globs over whole
    addresses, of sitemaps and crawls. Pages are versioned by ETag or date of change, and asked for
    once in ``delay`` seconds at most, or as seldom as robots.txt says; with ``robots`` off that
    file is not looked at. Addresses in private networks are refused unless ``allow_private``.
    A page over ``max_bytes`` fails; ``timeout`` is in seconds.
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
        """``https://...``: a page, or a sitemap by its name; ``crawl+https://...``: a site."""
        private = {"allow_private": bool(options.get("allow_private", False))}
        if uri.lower().startswith("crawl+"):
            return cls(crawl=uri[6:], **private)
        name = posixpath.basename(urlsplit(uri).path).lower()
        if "sitemap" in name and name.endswith((".xml", ".xml.gz")):
            return cls(sitemap=uri, **private)
        return cls(urls=(uri,), **private)

    @field_validator("urls")
    @classmethod
    def _one_form(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_address(url) for url in urls))

    @field_validator("sitemap", "crawl")
    @classmethod
    def _form(cls, url: str) -> str:
        return _address(url) if url else ""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(map(bool, (self.urls, self.sitemap, self.crawl))) != 1:
            raise ValueError("name urls, a sitemap or where to crawl: one of them")
        return self

    @property
    def scope(self) -> str:
        """What the addresses begin with; of a sitemap or crawl, the folder that it is in."""
        if self.urls:
            return commonprefix(self.urls)  # noqa: RUF071 (of characters is what is meant)
        return _folder(self.sitemap or self.crawl)

    @property
    def owner_id(self) -> str:
        """The sitemap or crawl: pages that another one, or a person, has named are not its own."""
        return f"crawl {self.crawl}" if self.crawl else self.sitemap

    def owns(self, uri: str) -> bool:
        """Whether it is one of the addresses, or one that the sitemap or crawl could have."""
        if self.urls:
            return uri in self.urls
        return uri.startswith(self.scope) and self._selected(uri)

    def count(self) -> int | None:
        """Number of the addresses."""
        return len(self.urls) or None

    def sources(self) -> Iterator[Source]:
        """List the pages; of a crawl, as they are found."""
        from connectors.http import Fetcher

        fetcher = Fetcher(self.delay, self.robots, self.allow_private, self.timeout, self.max_bytes)
        if self.crawl:
            yield from self._crawled(fetcher)
        elif self.sitemap:
            yield from self._mapped(fetcher)
        else:
            for url in self.urls:
                yield self._looked_at(fetcher, url, gone=False)

    def _selected(self, url: str) -> bool:
        return any(fnmatchcase(url, glob) for glob in self.include) and not any(
            fnmatchcase(url, glob) for glob in self.exclude
        )

    def _looked_at(self, fetcher: Fetcher, url: str, *, gone: bool) -> Source:
        """The page with its version, as the server states it without sending the page.

        Raises `Gone` where it is not there, if `gone` is to be told.
        """
        from connectors.http import Gone

        read = partial(_read, fetcher, url)
        try:
            found = fetcher.get(url, method="HEAD")
        except Gone:
            if gone:
                raise
            return Source(uri=url, version="", read=read)
        except SourceError:  # the request for the page itself will say the same, or do better
            return Source(uri=url, version="", read=read)
        return _source(url, found, read)

    # -- sitemaps --------------------------------------------------------------------------

    def _mapped(self, fetcher: Fetcher) -> Iterator[Source]:
        from connectors.http import Gone

        for entry in self._entries(fetcher):
            if isinstance(entry, Source):
                yield entry
            elif not entry.url.startswith(self.scope):
                reason = f"the sitemap names a page outside of {self.scope}"
                yield _unreadable(entry.url, reason, SourceError)
            elif self._selected(entry.url):
                if "T" in entry.changed:  # to the second: then there is no need to ask
                    read = partial(_read, fetcher, entry.url)
                    yield Source(uri=entry.url, version=entry.changed, read=read)
                else:
                    try:
                        yield self._looked_at(fetcher, entry.url, gone=True)
                    except Gone:
                        continue

    def _entries(self, fetcher: Fetcher) -> Iterator[_Entry | Source]:
        """Pages of the sitemap and of those that it names."""
        ahead, seen = deque([self.sitemap]), {self.sitemap}
        while ahead:
            url = ahead.popleft()
            try:
                entries = list(_entries_of(fetcher.get(url).body))
            except SourceError as error:
                if url == self.sitemap:
                    raise SourceNotFound(f"{url}: {error}") from None
                yield _unreadable(url, f"the sitemap cannot be read: {error}", shelter=self.scope)
                continue
            for is_map, entry in entries:
                if not is_map:
                    yield entry
                elif entry.url not in seen:
                    seen.add(entry.url)
                    if len(seen) <= _MOST_SITEMAPS:
                        ahead.append(entry.url)
                    elif len(seen) == _MOST_SITEMAPS + 1:
                        reason = f"more than {_MOST_SITEMAPS:,} sitemaps: the rest is not read"
                        yield _unreadable(entry.url, reason, shelter=self.scope)

    # -- crawls ----------------------------------------------------------------------------

    def _crawled(self, fetcher: Fetcher) -> Iterator[Source]:
        from connectors.http import Disallowed, Gone

        ahead = deque([(self.crawl, 0)])
        seen = {self.crawl}
        pages = 0
        while ahead:
            url, distance = ahead.popleft()
            if pages == self.max_pages:
                reason = f"the crawl ended at {pages:,} pages, with more ahead (max_pages)"
                yield _unreadable(f"{self.crawl}#crawl", reason, shelter=self.scope)
                return
            try:
                found = fetcher.get(url)
            except Gone as error:
                if url == self.crawl:
                    raise SourceNotFound(f"{url}: {error}") from None
                continue
            except SourceError as error:  # what it leads to cannot be known
                if url == self.crawl:
                    raise SourceNotFound(f"{url}: {error}") from None
                if not isinstance(error, Disallowed):
                    yield _unreadable(url, str(error), shelter=self.scope)
                continue
            if not found.url.startswith(self.scope):
                if url == self.crawl:
                    raise SourceNotFound(f"{url} leads to {found.url}: crawl that")
                continue
            if found.url != url:  # another name for a page that has one
                if found.url in seen:
                    continue
                seen.add(found.url)
            pages += 1
            if distance < self.depth and found.mime in (None, "text/html", "application/xhtml+xml"):
                for link in _links(found):
                    if link.startswith(self.scope) and link not in seen and self._followed(link):
                        seen.add(link)
                        ahead.append((link, distance + 1))
            if self._selected(url) and not (found.mime or "").startswith(_NO_PAGES):
                kept = partial(bytes, found.body)
                again = partial(_read, fetcher, url)
                yield _source(url, found, kept if len(found.body) <= _KEPT else again)

    def _followed(self, url: str) -> bool:
        """Whether a page is asked for at all: for itself, or for the links that may be in it."""
        return not any(fnmatchcase(url, glob) for glob in self.exclude)


@dataclass(frozen=True, slots=True)
class _Entry:
    url: str
    changed: str


def _entries_of(data: bytes) -> Iterator[tuple[bool, _Entry]]:
    """(is it a sitemap, address) of what a sitemap lists."""
    from lxml import etree

    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(_LARGEST_SITEMAP + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"it cannot be unpacked ({error})") from None
        if len(data) > _LARGEST_SITEMAP:
            raise SourceError(f"it has more than {_LARGEST_SITEMAP:,} bytes")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        # Two slips that are common, and plain: white space before the XML, and a bare "&".
        data = re.sub(rb"&(?!#?\w{1,20};)", b"&amp;", data.removeprefix(b"\xef\xbb\xbf").lstrip())
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(f"it is not whole, or not XML ({error})") from None
    if etree.QName(root).localname not in ("urlset", "sitemapindex"):
        raise SourceError("it is no sitemap")
    for element in root:
        name = etree.QName(element).localname if isinstance(element.tag, str) else ""
        said = {etree.QName(c).localname: (c.text or "") for c in element if isinstance(c.tag, str)}
        if name in ("url", "sitemap") and said.get("loc", "").strip():
            try:
                yield name == "sitemap", _Entry(_address(said["loc"]), said.get("lastmod", ""))
            except SourceNotFound:
                continue


def _links(page: Fetched) -> Iterator[str]:
    from lxml import etree

    try:
        root = etree.HTML(page.body[: 4 * _KEPT])
    except (etree.LxmlError, ValueError):
        return
    if root is None:
        return
    base = next((tag.get("href") or "" for tag in root.iter("base")), "")
    for tag in root.iter("a", "area"):
        if "nofollow" not in (tag.get("rel") or ""):
            try:
                yield _address(urljoin(urljoin(page.url, base), (tag.get("href") or "").strip()))
            except (SourceNotFound, ValueError):
                continue


def _source(url: str, found: Fetched, read: Any) -> Source:
    about = {"redirected_to": found.url} if found.url != url else {}
    return Source(uri=url, version=found.version, read=read, mime=found.mime, metadata=about)


def _read(fetcher: Fetcher, url: str) -> bytes:
    return fetcher.get(url).body


def _unreadable(
    url: str, reason: str, kind: type[SourceError] = SourceUnreadable, shelter: str = ""
) -> Source:
    def read() -> bytes:
        raise kind(reason)

    return Source(uri=url, version="", read=read, protected_prefix=shelter)


def _address(url: str) -> str:
    from connectors.http import checked_url

    return checked_url(url)


def _folder(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path[: parts.path.rindex("/") + 1]
    return parts._replace(path=path, query="").geturl()

"""RSS and Atom feeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from connectors.base import Connector, Source, part_uri
from rag.errors import SourceError, SourceNotFound
from rag.types import flatten_metadata, to_well_formed


class Feed(Connector):
    """Reads each entry of an RSS or Atom feed as a document, with the text in the feed.

    The uri of an entry is the address of the feed followed by the link of the entry. The ``link``
    is also in the metadata. Feeds drop their older entries; these stay in the index. ``timeout``
    is in seconds. For ``allow_private`` see `Web`.
    """

    name: ClassVar[str] = "feed"
    extra: ClassVar[str] = "feed"
    packages: ClassVar[tuple[str, ...]] = ("feedparser",)
    examples: ClassVar[tuple[str, ...]] = ("feed+https://example.org/news.xml",)
    schemes: ClassVar[tuple[str, ...]] = ("feed+http", "feed+https")

    url: str
    allow_private: bool = False
    timeout: float = Field(20.0, gt=0)

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Return the connector for ``feed+https://...``."""
        return cls(
            url=uri.removeprefix("feed+"), allow_private=bool(options.get("allow_private", False))
        )

    @field_validator("url")
    @classmethod
    def _normalize_url(cls, url: str) -> str:
        from connectors.http import normalize_url

        return normalize_url(url)

    @property
    def scope(self) -> str:
        """Uri of the feed, with the separator before the entries."""
        return part_uri(f"feed+{self.url}", "")

    def owns(self, uri: str) -> bool:
        """Return False: an entry that is no longer in the feed stays in the index."""
        return False

    def sources(self) -> Iterator[Source]:
        """List the entries, in the order of the feed."""
        self.require()
        import feedparser

        from connectors.http import Fetcher

        fetcher = Fetcher(0.0, False, self.allow_private, self.timeout, 64 * 2**20)
        try:
            response = fetcher.get(self.url)
        except SourceError as error:
            raise SourceNotFound(f"{self.url}: {error}", uri=f"feed+{self.url}") from None
        feed = feedparser.parse(response.body, resolve_relative_uris=True, sanitize_html=True)
        if not feed.version:
            raise SourceNotFound(f"{self.url} is not an RSS or Atom feed", uri=f"feed+{self.url}")
        seen_uris: set[str] = set()
        for entry in feed.entries:
            source = self._make_source(entry, feed.feed.get("title", ""))
            if source.uri not in seen_uris:
                seen_uris.add(source.uri)
                yield source

    def _make_source(self, entry: Any, feed_title: str) -> Source:
        html_bodies = [content.get("value", "") for content in entry.get("content", ())]
        html_body = max([entry.get("summary", ""), *html_bodies], key=len)
        title = to_well_formed(entry.get("title", ""))
        html = f"<html><body><h1>{title}</h1>{html_body}</body></html>".encode(errors="replace")
        link = entry.get("link", "")
        uri = part_uri(f"feed+{self.url}", link or entry.get("id") or title or "entry")
        raw_metadata = {
            "link": link,
            "author": entry.get("author"),
            "published": entry.get("published") or entry.get("updated"),
            "tags": [tag.get("term") for tag in entry.get("tags", ()) if tag.get("term")],
            "feed": feed_title or self.url,
        }
        metadata = flatten_metadata({key: value for key, value in raw_metadata.items() if value})
        version = hashlib.sha256(html + repr(metadata).encode(errors="replace")).hexdigest()[:16]
        return Source(
            uri=to_well_formed(uri),
            version=version,
            read=partial(bytes, html),
            mime="text/html",
            title=title or None,
            metadata=metadata,
        )

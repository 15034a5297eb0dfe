"""Feeds: the entries of RSS and Atom."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from connectors.base import Connector, Source, part_uri
from rag.errors import SourceError, SourceNotFound
from rag.types import flat_metadata, well_formed


class Feed(Connector):
    """Entries of an RSS or Atom feed, with what the feed itself says in them.

    An entry is named after its link, behind the feed's own address; its ``link`` is in the
    metadata. Feeds forget their older entries: what is no longer in one stays in the index.
    ``timeout`` is in seconds; about ``allow_private`` see `Web`.
    """

    name: ClassVar[str] = "feed"
    examples: ClassVar[tuple[str, ...]] = ("feed+https://example.org/news.xml",)
    schemes: ClassVar[tuple[str, ...]] = ("feed+http", "feed+https")

    url: str
    allow_private: bool = False
    timeout: float = Field(20.0, gt=0)

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """``feed+https://...``."""
        return cls(
            url=uri.removeprefix("feed+"), allow_private=bool(options.get("allow_private", False))
        )

    @field_validator("url")
    @classmethod
    def _one_form(cls, url: str) -> str:
        from connectors.http import checked_url

        return checked_url(url)

    @property
    def scope(self) -> str:
        """The feed, and what parts it from its entries."""
        return part_uri(f"feed+{self.url}", "")

    def owns(self, uri: str) -> bool:
        """Nothing: an entry that has left the feed is not gone."""
        return False

    def sources(self) -> Iterator[Source]:
        """List the entries, in the order of the feed."""
        import feedparser

        from connectors.http import Fetcher

        fetcher = Fetcher(0.0, False, self.allow_private, self.timeout, 64 * 2**20)
        try:
            found = fetcher.get(self.url)
        except SourceError as error:
            raise SourceNotFound(f"{self.url}: {error}") from None
        feed = feedparser.parse(found.body, resolve_relative_uris=True, sanitize_html=True)
        if not feed.version:
            raise SourceNotFound(f"{self.url} is no feed")
        seen: set[str] = set()
        for entry in feed.entries:
            source = self._source(entry, feed.feed.get("title", ""))
            if source.uri not in seen:
                seen.add(source.uri)
                yield source

    def _source(self, entry: Any, feed_title: str) -> Source:
        bodies = [content.get("value", "") for content in entry.get("content", ())]
        body = max([entry.get("summary", ""), *bodies], key=len)
        title = well_formed(entry.get("title", ""))
        html = f"<html><body><h1>{title}</h1>{body}</body></html>".encode(errors="replace")
        link = entry.get("link", "")
        uri = part_uri(f"feed+{self.url}", link or entry.get("id") or title or "entry")
        about = {
            "link": link,
            "author": entry.get("author"),
            "published": entry.get("published") or entry.get("updated"),
            "tags": [tag.get("term") for tag in entry.get("tags", ()) if tag.get("term")],
            "feed": feed_title or self.url,
        }
        metadata = flat_metadata({key: value for key, value in about.items() if value})
        version = hashlib.sha256(html + repr(metadata).encode(errors="replace")).hexdigest()[:16]
        return Source(
            uri=well_formed(uri),
            version=version,
            read=partial(bytes, html),
            mime="text/html",
            title=title or None,
            metadata=metadata,
        )

"""The contract of connectors."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

from connectors import Connector, Parser, Source
from rag.component import Component
from rag.errors import SourceError, SourceNotFound
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads, call_in_other_process
from rag.types import Document, flatten_metadata

_MEDIA_TYPE = re.compile(r"[^/\s]+/\S+( *;.*)?")


class DigestParser(Parser):
    """Makes a document of any bytes, for tests: its text has the length and the SHA-256."""

    name: ClassVar[str] = "digest"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Return the document; it is never empty."""
        digest = hashlib.sha256(data).hexdigest()
        return Document(uri=uri, text=f"{len(data)} bytes, SHA-256 {digest}")


class ConnectorContract(PartContract[Connector]):
    """Checks of `connectors.Connector`: uris in scope, stable versions, reading, deletion.

    `make_part` returns a connector with at least two readable sources. Override `change_source` and
    `delete_source` so that updates and deletions are checked.
    """

    part_class: ClassVar[type[Component]] = Connector

    owns_sources: ClassVar[bool] = True
    """Whether an ingest deletes documents that are no longer listed; a feed keeps them."""

    def change_source(self, uri: str) -> Connector | None:
        """Change the content of a source; return the connector that lists it, as `make_part` does.

        None means that this cannot be tested.
        """
        return None

    def delete_source(self, uri: str) -> Connector | None:
        """Delete a source; return the connector that no longer lists it, as `make_part` does.

        None means that this cannot be tested.
        """
        return None

    def make_missing_part(self) -> Connector | None:
        """Return a connector whose source as a whole does not exist; None to skip the check."""
        return None

    def test_required_packages_are_installed(self) -> None:
        """`require` raises no error here, and the uri schemes are plain names."""
        connector = self.make_part()
        connector.require()
        for scheme in connector.schemes:
            assert re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme), f"{scheme!r} is no uri scheme"

    def test_sources_are_well_formed(self) -> None:
        """Each source has a uri, a version, and metadata that can be stored."""
        sources = list(self.make_part().sources())
        assert len(sources) >= 2, f"the test needs two sources, and there are {len(sources)}"
        for source in sources:
            assert isinstance(source, Source), f"{source!r} is not a Source"
            assert isinstance(source.uri, str) and source.uri, f"the uri is {source.uri!r}"
            assert isinstance(source.version, str), f"{source.uri}: version {source.version!r}"
            assert source.mime is None or _MEDIA_TYPE.fullmatch(source.mime), f"{source.mime!r}"
            metadata = flatten_metadata(source.metadata)
            Document(
                uri=source.uri, text="x", title=source.title or "", metadata=metadata
            )  # raises an error if a value cannot be stored

    def test_uris_are_unique_and_in_scope(self) -> None:
        """The uris begin with the scope, and none occurs twice; the connector owns them."""
        connector = self.make_part()
        uris = [source.uri for source in connector.sources()]
        assert len(set(uris)) == len(uris), "a uri is listed twice"
        for uri in uris:
            assert uri.startswith(connector.scope), f"{uri} is outside of {connector.scope}"
            assert connector.owns(uri) == self.owns_sources, (
                f"owns({uri!r}) is {not self.owns_sources}"
            )
        assert connector.scope, "the scope is empty: every document would be in it"
        assert not connector.owns("no-such-scheme:elsewhere"), "it owns the uri of another source"
        assert isinstance(connector.owner_id, str), f"the owner is {connector.owner_id!r}"

    def test_listing_is_the_same_in_every_run(self) -> None:
        """Two listings, two equal connectors and two threads give equal uris and versions."""
        connector = self.make_part()
        expected = _list_versions(connector)
        assert _list_versions(connector) == expected, "the second listing differs"
        assert _list_versions(self.make_part()) == expected, "an equal connector lists others"
        for versions in call_from_threads(lambda: _list_versions(connector)):
            assert versions == expected, "two threads at once list others"

    def test_versions_are_the_same_in_another_process(self) -> None:
        """Another process lists the same uris and versions."""
        connector = self.make_part()
        if not connector.is_plain:
            raise SkipTest("the connector wraps an object that no configuration describes")
        versions = call_in_other_process(_list_versions, connector)
        assert versions == _list_versions(connector), f"another process lists {versions}"

    def test_count_is_the_number_of_sources(self) -> None:
        """`count` is None or the number of sources."""
        connector = self.make_part()
        count, number = connector.count(), len(list(connector.sources()))
        assert count is None or count == number, f"count() is {count} for {number} sources"

    def test_sources_can_be_read(self) -> None:
        """A source is read after the listing, more than once, and from several threads."""
        sources = list(self.make_part().sources())
        readable_count = 0
        for source in sources:
            try:
                data = source.read()
            except SourceError as error:
                assert str(error), f"{source.uri}: the error has no message"
                continue
            readable_count += 1
            assert isinstance(data, bytes), f"{source.uri}: read() returns {type(data).__name__}"
            assert source.read() == data, f"{source.uri}: the second read differs"
            for in_thread in call_from_threads(source.read):
                assert in_thread == data, f"{source.uri}: two threads at once read other bytes"
        assert readable_count >= 2, "the test needs two readable sources"

    def test_listing_can_be_stopped(self) -> None:
        """A listing that is closed early leaves nothing behind."""
        connector = self.make_part()
        expected = _list_versions(connector)
        listing = connector.sources()
        next(listing)
        close = getattr(listing, "close", None)
        if close is not None:
            close()
        assert _list_versions(connector) == expected, "the next listing differs"

    def test_missing_source_is_reported(self) -> None:
        """A source that does not exist as a whole raises `SourceNotFound`."""
        connector = self.make_missing_part()
        if connector is None:
            raise SkipTest("make_missing_part returns None")
        try:
            list(connector.sources())
        except SourceNotFound as error:
            assert str(error), "the error has no message"
        else:
            raise AssertionError("a missing source raised no SourceNotFound: all is deleted")

    def test_ingest_reads_only_what_has_changed(self) -> None:
        """A second ingest of the same sources adds, updates, deletes and fails none."""
        first, second = _ingest(self.make_part(), self.make_part())
        assert first.added >= 2, f"the first ingest added {first.added} documents"
        assert second.unchanged == first.added, f"unchanged: {second.unchanged} of {first.added}"
        changes = (second.added, second.updated, second.deleted)
        assert changes == (0, 0, 0), f"the second ingest added, updated, deleted {changes}"

    def test_changed_source_has_another_version(self) -> None:
        """After a source changes, its version and its bytes are others."""
        before = {source.uri: source for source in self.make_part().sources()}
        uri, old_data = _first_readable(before)
        connector = self.change_source(uri)
        if connector is None:
            raise SkipTest("change_source returns None")
        after = {source.uri: source for source in connector.sources()}
        assert set(after) == set(before), "the change of a source changed the list of uris"
        assert after[uri].read() != old_data, f"{uri}: the bytes have not changed"
        version = after[uri].version
        assert not version or version != before[uri].version, f"{uri} has the old version"

    def test_deleted_source_is_not_listed(self) -> None:
        """After a source is deleted, it is owned but not listed, and an ingest deletes it."""
        before = self.make_part()
        sources = {source.uri: source for source in before.sources()}
        uri, _ = _first_readable(sources)
        with tempfile.TemporaryDirectory() as folder:
            pipeline = _make_pipeline(Path(folder))
            with pipeline:
                pipeline.ingest(before)
                connector = self.delete_source(uri)
                if connector is None:
                    raise SkipTest("delete_source returns None")
                uris = [source.uri for source in connector.sources()]
                assert uris == [other for other in sources if other != uri], f"listed: {uris}"
                assert connector.owns(uri), f"the connector no longer owns {uri}"
                report = pipeline.ingest(connector)
        assert report.deleted == 1, f"the ingest deleted {report.deleted} documents"
        assert (report.added, report.updated) == (0, 0), "the ingest read other sources again"


def _list_versions(connector: Connector) -> list[tuple[str, str]]:
    return [(source.uri, source.version) for source in connector.sources()]


def _first_readable(sources: dict[str, Source]) -> tuple[str, bytes]:
    for uri, source in sources.items():
        try:
            return uri, source.read()
        except SourceError:
            continue
    raise AssertionError("no source can be read")


def _make_pipeline(folder: Path) -> Any:
    from rag.pipeline import Pipeline

    return Pipeline(index=folder / "index", parser=DigestParser(), processes=0)


def _ingest(*connectors: Connector) -> list[Any]:
    """Ingest with each connector into one new index, and return the reports."""
    with tempfile.TemporaryDirectory() as folder, _make_pipeline(Path(folder)) as pipeline:
        return [pipeline.ingest(connector) for connector in connectors]

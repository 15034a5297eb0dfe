"""Fetching from the web with manners, and from nowhere that was not asked for.

Addresses are checked after the name was looked up, for every connection, and the connection is
made to the address that was checked: neither a redirect nor a name that is looked up differently
the second time leads into a private network.
"""

from __future__ import annotations

import email.utils
import ipaddress
import socket
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import httpcore
import httpx
from protego import Protego

from rag.errors import SourceError, SourceNotFound, SourceUnreadable

AGENT = "citewell"
_MOST_REDIRECTS = 10
_TRIES = 3
_LONGEST_WAIT = 60.0  # seconds a server may ask us to wait before we try again
_LONGEST_DOWNLOAD = 300.0  # seconds
_ROBOTS_BYTES = 500_000
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is in use on the internet
_RESERVED = (ipaddress.IPv6Network("2001:db8::/32"), ipaddress.IPv6Network("3fff::/20"))


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back: the address it came from in the end, and the body where one was asked for."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def mime(self) -> str | None:
        """Media type, without its parameters."""
        said = self.headers.get("content-type", "").split(";")[0].strip().lower()
        return said or None

    @property
    def version(self) -> str:
        """ETag or date of the last change; "" where the server says neither."""
        return self.headers.get("etag") or self.headers.get("last-modified") or ""


class Gone(SourceError):
    """The server says that there is no such page."""


class Disallowed(SourceError):
    """The site's robots.txt keeps us out."""


@dataclass
class Fetcher:
    """Gets pages, one request to a host every `delay` seconds; may be shared by threads.

    Raises `SourceNotFound` for addresses that may not be asked, `Gone` for pages that are not
    there, `Disallowed` for those that robots.txt keeps from us, `SourceUnreadable` for all that
    may go better another time.
    """

    delay: float
    robots: bool
    allow_private: bool
    timeout: float
    max_bytes: int
    _client: httpx.Client = field(init=False)
    _rules: dict[str, Protego | SourceError] = field(default_factory=dict)
    _next: dict[str, float] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._client = httpx.Client(
            transport=_Transport(self.allow_private),
            timeout=self.timeout,
            headers={
                "User-Agent": f"{AGENT}/0.1 (retrieval of named pages)",
                "Accept-Encoding": "gzip",
            },
            trust_env=False,
        )

    def get(self, url: str, *, method: str = "GET") -> Fetched:
        """Ask for `url`, following redirects."""
        for _ in range(_MOST_REDIRECTS + 1):
            self._allowed(url)
            found = self._asked(url, method, self.max_bytes)
            if found.status not in (301, 302, 303, 307, 308) or "location" not in found.headers:
                return _checked(found)
            url = checked_url(urljoin(url, found.headers["location"]))
        raise SourceUnreadable(f"more than {_MOST_REDIRECTS} redirects")

    def _allowed(self, url: str) -> None:
        """Raise where robots.txt keeps us out."""
        if not self.robots:
            return
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        with self._asking:  # once for each site
            rules = self._rules.get(origin)
            if rules is None:
                rules = self._rules[origin] = self._robots_of(origin)
        if isinstance(rules, SourceError):
            raise rules
        if not rules.can_fetch(url, AGENT):
            raise Disallowed("the site's robots.txt does not allow it (unless robots=False)")

    def _robots_of(self, origin: str) -> Protego | SourceError:
        url = f"{origin}/robots.txt"
        try:
            for _ in range(_MOST_REDIRECTS):
                found = self._asked(url, "GET", _ROBOTS_BYTES)
                if found.status in (301, 302, 303, 307, 308) and "location" in found.headers:
                    url = checked_url(urljoin(url, found.headers["location"]))
                    continue
                break
        except SourceError as error:
            return type(error)(f"the site's robots.txt cannot be read: {error}")
        if found.status >= 500:
            return SourceUnreadable(f"the site's robots.txt cannot be read: {found.status}")
        text = found.body.decode(errors="replace") if found.status < 300 else ""
        rules = Protego.parse(text)
        wait = rules.crawl_delay(AGENT)
        if wait:
            self.delay = max(self.delay, min(float(wait), _LONGEST_WAIT))
        return rules

    def _asked(self, url: str, method: str, most: int) -> Fetched:
        for attempt in range(1, _TRIES + 1):
            self._wait(url)
            try:
                with self._client.stream(method, url) as response:
                    headers = {k.lower(): v for k, v in response.headers.items()}
                    body = b"" if method == "HEAD" else _body(response, most)
                    found = Fetched(url, response.status_code, headers, body)
            except httpx.HTTPError as error:  # of decoding what came back
                raise SourceUnreadable(f"the answer cannot be read: {error}") from None
            except SourceUnreadable:
                if attempt == _TRIES:
                    raise
                continue
            if found.status not in (429, 503) or attempt == _TRIES:
                return found
            self._put_off(url, found.headers.get("retry-after", ""), attempt)
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, url: str) -> None:
        """Until it is our turn; every request to a host has its own."""
        host = urlsplit(url).netloc
        with self._guard:
            now = time.monotonic()
            turn = max(self._next.get(host, 0.0), now)
            self._next[host] = turn + self.delay
        if turn > now:
            time.sleep(turn - now)

    def _put_off(self, url: str, retry_after: str, attempt: int) -> None:
        wait = _seconds(retry_after)
        wait = self.delay * 2**attempt if wait is None else min(wait, _LONGEST_WAIT)
        with self._guard:
            self._next[urlsplit(url).netloc] = time.monotonic() + wait


def _seconds(retry_after: str) -> float | None:
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _checked(found: Fetched) -> Fetched:
    if found.status in (404, 410):
        raise Gone(f"there is no such page ({found.status})")
    if found.status in (401, 403):
        raise SourceError(f"the server does not let us in ({found.status})")
    if found.status >= 400:
        raise SourceUnreadable(f"the server answers {found.status}")
    return found


def _body(response: httpx.Response, most: int) -> bytes:
    """What was sent, unpacked no further than to one byte over `most`."""
    packed = response.headers.get("content-encoding", "").strip().lower()
    if packed in ("br", "deflate", "zstd", "compress") or "," in packed:
        raise SourceError(f"it is packed in a way that was not asked for ({packed})")
    unpack = zlib.decompressobj(wbits=31) if "gzip" in packed else None
    found: list[bytes] = []
    size = 0
    try:
        for piece in response.iter_raw():
            found.append(unpack.decompress(piece, most + 1 - size) if unpack else piece)
            size += len(found[-1])
            if size > most:
                raise SourceError(f"more than {most:,} bytes (max_bytes)")
    except zlib.error as error:
        raise SourceUnreadable(f"the answer cannot be unpacked: {error}") from None
    if unpack and found and not unpack.eof:
        raise SourceUnreadable("the answer cannot be unpacked: it ends too soon")
    return b"".join(found)


def checked_url(url: str) -> str:
    """The address in one form, without what is behind a ``#``. Raises `SourceNotFound`."""
    try:
        parts = urlsplit(urldefrag(url.strip()).url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SourceNotFound(f"not an address: {url} ({error})") from None
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise SourceNotFound(f"not an address of the web: {url}")
    if parts.username or parts.password:
        raise SourceNotFound("an address with a password in it is not asked for")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme.lower()]:
        netloc += f":{port}"
    return parts._replace(
        scheme=parts.scheme.lower(), netloc=netloc, path=parts.path or "/"
    ).geturl()


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also inside of IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GIVEN_OUT or any(ip in network for network in _RESERVED):
            return False
    return ip.is_global and not ip.is_multicast


class _CheckedBackend(httpcore.SyncBackend):
    """Connects to addresses only that were checked."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise SourceUnreadable(f"there is no {host}: {error}") from None
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        if not self._allow_private and not all(map(is_public, addresses)):
            raise SourceNotFound(
                f"{host} is in a private network, which is asked for with allow_private only "
                "(--allow-private)"
            )
        until = time.monotonic() + _LONGEST_DOWNLOAD
        for address in addresses:
            try:
                stream = super().connect_tcp(address, port, timeout, local_address, socket_options)
                return _TimedStream(stream, until)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise SourceUnreadable(f"there is no address of {host}")

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        raise SourceNotFound("not an address of the web")


class _TimedStream(httpcore.NetworkStream):
    """A connection for one answer, however slowly its pieces come."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream, self._until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if time.monotonic() > self._until:
            raise SourceUnreadable(f"it takes more than {_LONGEST_DOWNLOAD:.0f} s to come")
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _TimedStream(stream, self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException:
        raise SourceUnreadable("the server takes too long to answer") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise SourceUnreadable(f"the server cannot be asked: {error}") from None


class _Stream(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _told():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


class _Transport(httpx.BaseTransport):
    def __init__(self, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            network_backend=_CheckedBackend(allow_private),
            max_keepalive_connections=0,  # each has its own time
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _told():
            answer = self._pool.handle_request(asked)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Stream(answer.stream),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._pool.close()

"""An HTTP client that obeys robots.txt, limits its rate and refuses private addresses.

For every connection, the IP address is checked after the host name is resolved, and the client
connects to the address that was checked. So neither a redirect nor a host name that resolves
differently the second time (DNS rebinding) leads into a private network.
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

USER_AGENT = "citewell"
_MAX_REDIRECTS = 10
_MAX_ATTEMPTS = 3
_MAX_WAIT_SECONDS = 60.0  # longest wait that a server or a robots.txt can ask for
_MAX_DOWNLOAD_SECONDS = 300.0  # for one response, however slow the server
_MAX_ROBOTS_BYTES = 500_000
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # the IPv6 internet, as IANA assigns it
_DOCUMENTATION_NETWORKS = (  # RFC 3849, RFC 9637
    ipaddress.IPv6Network("2001:db8::/32"),
    ipaddress.IPv6Network("3fff::/20"),
)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response: the url after all redirects, status, headers, and the body (empty for HEAD)."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def mime(self) -> str | None:
        """Media type without parameters, None if the server states none."""
        media_type = self.headers.get("content-type", "").split(";")[0].strip().lower()
        return media_type or None

    @property
    def version(self) -> str:
        """ETag or Last-Modified header, "" if the server sends neither."""
        return self.headers.get("etag") or self.headers.get("last-modified") or ""


class PageMissing(SourceError):
    """The server answered that the page does not exist (404 or 410)."""


class RobotsDisallowed(SourceError):
    """The robots.txt of the site does not allow this client to fetch the page."""


@dataclass
class Fetcher:
    """Fetches pages, with `delay` seconds between two requests to a host. Thread-safe.

    `robots` sets whether robots.txt is obeyed, `allow_private` whether private addresses are
    allowed. `timeout` is in seconds, `max_bytes` limits the unpacked body. Raises
    `SourceNotFound` for addresses that are refused, `PageMissing` for pages that do not exist,
    `RobotsDisallowed` for pages that robots.txt excludes, and `SourceUnreadable` for failures
    that may be temporary.
    """

    delay: float
    robots: bool
    allow_private: bool
    timeout: float
    max_bytes: int
    _client: httpx.Client = field(init=False)
    _robots_rules: dict[str, Protego | SourceError] = field(default_factory=dict)
    _next_request_times: dict[str, float] = field(default_factory=dict)
    _schedule_lock: threading.Lock = field(default_factory=threading.Lock)
    _robots_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._client = httpx.Client(
            transport=_Transport(self.allow_private),
            timeout=self.timeout,
            headers={
                "User-Agent": f"{USER_AGENT}/0.1 (retrieval of named pages)",
                "Accept-Encoding": "gzip",
            },
            trust_env=False,
        )

    def get(self, url: str, *, method: str = "GET") -> HttpResponse:
        """Request `url` and follow redirects; the body is read unless `method` is HEAD."""
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_robots(url)
            response = self._request(url, method, self.max_bytes)
            if (
                response.status not in (301, 302, 303, 307, 308)
                or "location" not in response.headers
            ):
                return _raise_for_status(response)
            url = normalize_url(urljoin(url, response.headers["location"]))
        raise SourceUnreadable(f"more than {_MAX_REDIRECTS} redirects")

    def _check_robots(self, url: str) -> None:
        """Raise if the robots.txt of the site excludes `url` or cannot be read."""
        if not self.robots:
            return
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        with self._robots_lock:  # so that each site is asked once
            rules = self._robots_rules.get(origin)
            if rules is None:
                rules = self._robots_rules[origin] = self._load_robots(origin)
        if isinstance(rules, SourceError):
            raise type(rules)(str(rules))  # a new error for each page
        if not rules.can_fetch(url, USER_AGENT):
            raise RobotsDisallowed(
                "the robots.txt of the site does not allow it (robots=False ignores this)"
            )

    def _load_robots(self, origin: str) -> Protego | SourceError:
        """Return the rules of a site, or the error that keeps them from being read.

        A crawl delay in them raises `delay`.
        """
        url = f"{origin}/robots.txt"
        try:
            for _ in range(_MAX_REDIRECTS):
                response = self._request(url, "GET", _MAX_ROBOTS_BYTES)
                if response.status in (301, 302, 303, 307, 308) and "location" in response.headers:
                    url = normalize_url(urljoin(url, response.headers["location"]))
                    continue
                break
        except SourceError as error:
            return type(error)(f"the robots.txt of the site cannot be read: {error}")
        if response.status >= 500:
            return SourceUnreadable(
                f"the robots.txt of the site cannot be read (status {response.status})"
            )
        text = response.body.decode(errors="replace") if response.status < 300 else ""
        rules = Protego.parse(text)
        wait = rules.crawl_delay(USER_AGENT)
        if wait:
            self.delay = max(self.delay, min(float(wait), _MAX_WAIT_SECONDS))
        return rules

    def _request(self, url: str, method: str, max_bytes: int) -> HttpResponse:
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            self._wait_for_turn(url)
            try:
                with self._client.stream(method, url) as stream:
                    headers = {k.lower(): v for k, v in stream.headers.items()}
                    body = b"" if method == "HEAD" else _read_body(stream, max_bytes)
                    response = HttpResponse(url, stream.status_code, headers, body)
            except httpx.HTTPError as error:  # such as a failure to decode the response
                raise SourceUnreadable(f"the response cannot be read: {error}") from None
            except SourceUnreadable:
                if attempt == _MAX_ATTEMPTS:
                    raise
                continue
            if response.status not in (429, 503) or attempt == _MAX_ATTEMPTS:
                return response
            self._delay_host(url, response.headers.get("retry-after", ""), attempt)
        raise AssertionError("the last attempt returns or raises")

    def _wait_for_turn(self, url: str) -> None:
        """Sleep until the next request to the host is due, and reserve that time."""
        host = urlsplit(url).netloc
        with self._schedule_lock:
            now = time.monotonic()
            turn = max(self._next_request_times.get(host, 0.0), now)
            self._next_request_times[host] = turn + self.delay
        if turn > now:
            time.sleep(turn - now)

    def _delay_host(self, url: str, retry_after: str, attempt: int) -> None:
        """Move the next request to the host back, by Retry-After or by exponential backoff."""
        wait = _parse_retry_after(retry_after)
        wait = self.delay * 2**attempt if wait is None else min(wait, _MAX_WAIT_SECONDS)
        with self._schedule_lock:
            self._next_request_times[urlsplit(url).netloc] = time.monotonic() + wait


def _parse_retry_after(retry_after: str) -> float | None:
    """Return the seconds of a Retry-After header (a number or a date), None if it has none."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _raise_for_status(response: HttpResponse) -> HttpResponse:
    if response.status in (404, 410):
        raise PageMissing(f"the page does not exist (status {response.status})")
    if response.status in (401, 403):
        raise SourceError(f"the server denies access (status {response.status})")
    if response.status >= 400:
        raise SourceUnreadable(f"the server answered with status {response.status}")
    return response


def _read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """Read and unpack the body, up to one byte more than `max_bytes`."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("br", "deflate", "zstd", "compress") or "," in encoding:
        raise SourceError(f"the response has an encoding that was not requested ({encoding})")
    unpack = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in response.iter_raw():
            pieces.append(unpack.decompress(piece, max_bytes + 1 - size) if unpack else piece)
            size += len(pieces[-1])
            if size > max_bytes:
                raise SourceError(f"more than {max_bytes:,} bytes (max_bytes)")
    except zlib.error as error:
        raise SourceUnreadable(f"the response cannot be unpacked: {error}") from None
    if unpack and pieces and not unpack.eof:
        raise SourceUnreadable("the response cannot be unpacked: it is incomplete")
    return b"".join(pieces)


def normalize_url(url: str) -> str:
    """Return the address in its normal form, without the fragment (``#...``).

    Raises `SourceNotFound` if it is not an address of the web, or contains a password.
    """
    try:
        parts = urlsplit(urldefrag(url.strip()).url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SourceNotFound(f"not a valid address: {url} ({error})", uri=url) from None
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise SourceNotFound(f"not a web address (http or https): {url}", uri=url)
    if parts.username or parts.password:
        raise SourceNotFound("addresses that contain a user or password are not supported")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme.lower()]:
        netloc += f":{port}"
    return parts._replace(
        scheme=parts.scheme.lower(), netloc=netloc, path=parts.path or "/"
    ).geturl()


def is_public(address: str) -> bool:
    """Return whether an IP address is public, including IPv4 addresses embedded in IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded_ipv4 = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if embedded_ipv4 is None and ip in _NAT64:
            embedded_ipv4 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded_ipv4 is not None:
            return is_public(str(embedded_ipv4))
        if ip not in _GLOBAL_UNICAST or any(ip in network for network in _DOCUMENTATION_NETWORKS):
            return False
    return ip.is_global and not ip.is_multicast


class _AddressCheckingBackend(httpcore.SyncBackend):
    """Resolves a host, checks all its addresses, and connects to a checked address."""

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
            resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise SourceUnreadable(f"the host {host} cannot be resolved: {error}") from None
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in resolved))
        if not self._allow_private and not all(map(is_public, addresses)):
            raise SourceNotFound(
                f"{host} has a private address; set allow_private (--allow-private) to allow it"
            )
        deadline = time.monotonic() + _MAX_DOWNLOAD_SECONDS
        for address in addresses:
            try:
                stream = super().connect_tcp(address, port, timeout, local_address, socket_options)
                return _DeadlineStream(stream, deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise SourceUnreadable(f"the host {host} has no address")

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        raise SourceNotFound("not a web address (http or https)")


class _DeadlineStream(httpcore.NetworkStream):
    """A connection that ends at a deadline, however slowly the response arrives."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if time.monotonic() > self._deadline:
            raise SourceUnreadable(f"the download takes more than {_MAX_DOWNLOAD_SECONDS:.0f} s")
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
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn the errors of httpcore into `SourceUnreadable`."""
    try:
        yield
    except httpcore.TimeoutException:
        raise SourceUnreadable("the server did not answer in time") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise SourceUnreadable(f"the server cannot be reached: {error}") from None


class _ResponseStream(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _translate_errors():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


class _Transport(httpx.BaseTransport):
    def __init__(self, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            network_backend=_AddressCheckingBackend(allow_private),
            max_keepalive_connections=0,  # each response has its own deadline
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        core_request = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _translate_errors():
            core_response = self._pool.handle_request(core_request)
        return httpx.Response(
            status_code=core_response.status,
            headers=core_response.headers,
            stream=_ResponseStream(core_response.stream),
            extensions=core_response.extensions,
        )

    def close(self) -> None:
        self._pool.close()

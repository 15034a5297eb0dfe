"""Explains why a model service cannot be reached: proxies, certificates, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_API_PATH = re.compile(
    r"/(?:chat/completions|completions|responses|embeddings|messages|models(?:/[^/?]+:\w+)?|"
    r"api/(?:chat|generate|embed|tags|show))/?(?=\?|\Z)",
    re.IGNORECASE,
)
_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed")
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|record layer failure|http request", re.IGNORECASE)
_UNKNOWN_HOST = re.compile(
    r"name or service not known|nodename nor servname|name resolution|getaddrinfo", re.IGNORECASE
)


def remove_api_path(url: str) -> str:
    """Return a base URL without the path of a call: ``/chat/completions``, ``/messages`` ..."""
    return _API_PATH.sub("", url)


def explain_unreachable(url: str, error: BaseException | None) -> str:
    """Return why a server cannot be reached, and what to do.

    `error` is that of the HTTP client; the messages of its causes are read, too. Passwords of
    proxies are not repeated.
    """
    messages = " ".join(_list_messages(error))
    host = urlsplit(url).hostname or ""
    if isinstance(error, ImportError) and "socks" in messages.lower():
        return (
            f"the environment names the SOCKS proxy {find_proxy(url) or 'in ALL_PROXY'}, which "
            f"needs a package: pip install 'httpx[socks]', or set NO_PROXY={host}"
        )
    if isinstance(error, ImportError):
        return f"a package is missing ({messages[:200]})"
    if _CERTIFICATE.search(messages):
        return (
            "its certificate is not trusted; for a private authority, set SSL_CERT_FILE to its "
            "certificate"
        )
    if url.startswith("https:") and _NO_TLS.search(messages):
        return "it does not speak TLS; use http:// in base_url"
    if proxy := find_proxy(url):
        return (
            f"the environment sends the request through the proxy {proxy}; set NO_PROXY={host} to "
            "go around it"
        )
    if _UNKNOWN_HOST.search(messages):
        return f"the host {host} is not known: check base_url"
    return "is the server running?"


def find_proxy(url: str) -> str:
    """Return the proxy that the environment sets for a URL, without a password; "" if none."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(parts.hostname or ""):
        return ""
    proxy_parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = f":{proxy_parts.port}" if proxy_parts.port else ""
    return f"{proxy_parts.scheme}://{proxy_parts.hostname}{port}"


def _list_messages(error: BaseException | None) -> Iterator[str]:
    for _ in range(8):
        if error is None:
            return
        yield str(error)
        error = error.__cause__ or error.__context__

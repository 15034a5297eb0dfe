"""Which servers an API key may go to: the one that it was given for.

A ``.env`` file in a folder, or a pipeline file from somewhere else, can name any server. A key of
the user's environment is not sent there, unless the user trusts the server once (``rag trust``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rag.errors import ConfigError

Origin = Literal["configuration", "environment", ".env file", "default"]
"""Where an address or a key comes from; ``default`` is the provider's own address."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def find_origin(variable: str) -> Origin:
    """Return where the value of an environment variable comes from."""
    return "environment" if os.environ.get(variable) else ".env file"


def explain_withheld_key(url: str, url_origin: Origin, key_origin: Origin) -> str:
    """Return why a key is not sent to a server; "" if it may be sent.

    It may if the server is trusted, or if the key comes from the same place as the address, or the
    address from the environment; and only over https or to this machine.
    """
    server = find_server(url)
    if url_origin == "default" or server in list_trusted_servers():
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "imaps") and parts.hostname not in _LOOPBACK:
        return f"it would go over the network in clear; `rag trust {server}` allows it"
    if url_origin in (key_origin, "environment"):
        return ""
    return (
        f"the address is from the {url_origin} and the key from the {key_origin}; "
        f"`rag trust {server}` allows it"
    )


def find_server(url: str) -> str:
    """Return scheme, host and port of a URL. Raises `ConfigError` if it has none."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in ("http", "https", "imap", "imaps") or not parts.hostname:
        raise ConfigError("a server is http://, https:// or imaps://, a host, and perhaps a port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def list_trusted_servers() -> list[str]:
    """Return the servers that the user trusts with keys."""
    try:
        return _trust_file().read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return []


def trust_server(url: str) -> str:
    """Remember that keys may go to the server of a URL; return it. Raises `ConfigError`."""
    server = find_server(url)
    _write_servers([*(s for s in list_trusted_servers() if s != server), server])
    return server


def distrust_server(url: str) -> bool:
    """Forget a trusted server; return whether it was one."""
    server, servers = find_server(url), list_trusted_servers()
    _write_servers([s for s in servers if s != server])
    return server in servers


def _trust_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    return Path(base) / "citewell" / "trusted-servers"


def _write_servers(servers: list[str]) -> None:
    path = _trust_file()
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.write_text("".join(f"{server}\n" for server in servers), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None

"""API keys go to the server that they were given for, and to no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from rag import (
    AnthropicChat,
    CohereChat,
    ConfigError,
    GeminiChat,
    Message,
    ModelError,
    OpenAIChat,
    Pipeline,
)
from rag.cli.main import cli
from rag.embedding.openai import AzureOpenAIEmbedder, OpenAIEmbedder
from rag.providers.key_servers import find_server, list_trusted_servers, trust_server
from rag.stores import Chroma
from rag.stores.chroma_database import ServerDatabase
from rag.testing import ModelServer, Shape
from tests.conftest import API_KEY

HELLO = [Message(role="user", content="Hi")]
ELSEWHERE = "https://models.example.org/v1"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory and a home of the user without trusted servers."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "env_file", "fields", "is_sent"),
    [
        # the provider itself
        ({"OPENAI_API_KEY": API_KEY}, "", {}, True),
        ({"OPENAI_API_KEY": API_KEY}, "", {"base_url": "https://api.openai.com/v1"}, True),
        ({"OPENAI_API_KEY": API_KEY}, "", {"base_url": "https://eu.api.openai.com/v1"}, True),
        ({"OPENAI_API_KEY": API_KEY}, "", {"base_url": "http://api.openai.com/v1"}, False),
        ({"OPENAI_API_KEY": API_KEY}, "", {"base_url": "https://api.openai.com.evil.org"}, False),
        ({"OPENAI_API_KEY": API_KEY}, "", {"base_url": "https://notopenai.com/v1"}, False),
        ({"OPENAI_API_KEY": API_KEY}, "OPENAI_BASE_URL=https://api.openai.com/v1", {}, True),
        # key and address from one place
        ({"OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": ELSEWHERE}, "", {}, True),
        ({}, f"OPENAI_API_KEY={API_KEY}\nOPENAI_BASE_URL={ELSEWHERE}", {}, True),
        ({}, "", {"base_url": ELSEWHERE, "api_key": API_KEY}, True),
        ({"OPENAI_BASE_URL": ELSEWHERE}, "", {"api_key": API_KEY}, True),
        # a folder or a file names another server for the user's key
        ({"OPENAI_API_KEY": API_KEY}, f"OPENAI_BASE_URL={ELSEWHERE}", {}, False),
        ({"OPENAI_API_KEY": API_KEY}, "OPENAI_BASE_URL=http://127.0.0.1:1/v1", {}, False),
        ({"OPENAI_API_KEY": API_KEY}, "", {"base_url": ELSEWHERE}, False),
        ({}, f"OPENAI_API_KEY={API_KEY}", {"base_url": ELSEWHERE}, False),
        ({}, f"OPENAI_BASE_URL={ELSEWHERE}", {"api_key": API_KEY}, False),
        # in clear over the network
        ({}, "", {"base_url": "http://gpu:8000/v1", "api_key": API_KEY}, False),
        ({}, "", {"base_url": "http://127.0.0.1:8000/v1", "api_key": API_KEY}, True),
        ({}, "", {"base_url": "http://[::1]:8000/v1", "api_key": API_KEY}, True),
        ({"OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": "http://gpu/v1"}, "", {}, False),
    ],
)
def test_where_a_key_goes(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    env_file: str,
    fields: dict[str, Any],
    is_sent: bool,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (home / ".env").write_text(env_file)
    for kind in (OpenAIChat, OpenAIEmbedder):
        model: Any = kind.model_validate({"model": "m"} | fields)
        assert model._key == (API_KEY if is_sent else "")
        if not is_sent and not model._is_openai:
            assert model._client_settings.key == "none"
            trust_server(model._url)
            assert model._key == API_KEY
            (home / "config" / "citewell" / "trusted-servers").unlink()


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        (AnthropicChat, "ANTHROPIC_API_KEY"),
        (GeminiChat, "GEMINI_API_KEY"),
        (CohereChat, "COHERE_API_KEY"),
        (AzureOpenAIEmbedder, "AZURE_OPENAI_API_KEY"),
    ],
)
def test_a_key_of_the_environment_is_not_sent_where_a_file_says(
    kind: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, API_KEY)
    with ModelServer() as server:
        model = kind.model_validate({"base_url": server.url, "retries": 0})
        with pytest.raises(ConfigError, match="is not sent to") as caught:
            model.embed_query("x") if variable.startswith("AZURE") else model.complete(HELLO)
        assert not server.requests
    assert f"rag trust {find_server(server.url)}" in str(caught.value)
    assert API_KEY not in str(caught.value)


def test_a_server_that_wants_the_key_leads_to_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    shape = Shape(status=401, refuses=(lambda _: "no key",))
    with ModelServer(shape) as server, pytest.raises(ModelError, match="was not sent, because"):
        OpenAIChat(model="m", base_url=server.url, retries=0).complete(HELLO)


def test_the_key_of_chroma_stays_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_API_KEY", API_KEY)
    database = ServerDatabase.__new__(ServerDatabase)
    for url in ("https://chroma.example.org", "http://chroma:8000"):
        database._config, database.location = Chroma(url=url), url
        with pytest.raises(ConfigError, match=f"rag trust {url}"):
            database._make_headers()
        trust_server(url)
        assert API_KEY in str(database._make_headers())
    database._config = Chroma(url="https://other.example.org", api_key=SecretStr(API_KEY))
    assert database._make_headers()


def test_trusted_servers_are_listed_and_removed() -> None:
    from click.testing import CliRunner

    def run(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["trust", *arguments]).output

    assert "keys may be sent to https://a.org" in run("https://a.org/v1/x?key=1")
    assert "https://b.org:8443" in run("https://b.org:8443")
    run("https://a.org")
    assert run().split() == ["https://b.org:8443", "https://a.org"]
    assert run("https://a.org/other", "--remove") == "removed\n"
    assert list_trusted_servers() == ["https://b.org:8443"]
    for url in ("a.org", "ftp://a.org", "http://[x"):
        assert CliRunner().invoke(cli, ["trust", url]).exit_code != 0


@pytest.mark.parametrize(
    ("source", "argument", "trusted", "is_sent"),
    [
        ("imaps://me@mail.example.org/INBOX", False, "", False),
        ("imap://me@127.0.0.1:1143/INBOX", False, "", False),
        ("imaps://me@mail.example.org/INBOX", True, "", True),  # the user typed it
        ("imaps://me@mail.example.org/INBOX", False, "imaps://mail.example.org", True),
        ("imaps://me@mail.example.org/INBOX", False, "imaps://mail.example.com", False),
        ("imaps://me:own@mail.example.org/INBOX", False, "", True),  # not the user's password
    ],
)
def test_the_mail_password_does_not_go_to_a_server_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    source: str,
    argument: bool,
    trusted: str,
    is_sent: bool,
) -> None:
    monkeypatch.setenv("IMAP_PASSWORD", "secret")
    if trusted:
        trust_server(trusted)
    pipeline = Pipeline(index=home / "index", sources=() if argument else (source,))
    if is_sent:
        assert pipeline.connector(source).name == "mailbox"
    else:
        with pytest.raises(
            ConfigError, match=r"IMAP_PASSWORD was not sent to imaps?://.*rag trust"
        ):
            pipeline.connector(source)

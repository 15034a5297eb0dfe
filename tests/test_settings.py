from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.settings import Settings, load_settings


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = tmp_path / ".env"
    env.write_text("OPENAI_API_KEY=from-file\nRAG_INDEX=somewhere\nUNKNOWN=1\n")
    assert load_settings(env).openai_api_key.get_secret_value() == "from-file"  # type: ignore[union-attr]
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    settings = load_settings(env)
    assert settings.openai_api_key.get_secret_value() == "from-environment"  # type: ignore[union-attr]
    assert settings.index == Path("somewhere")


def test_empty_values_count_as_not_set(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("OPENAI_API_KEY=\nRAG_INDEX=\n")
    assert load_settings(env) == Settings()


def test_empty_variable_does_not_override_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("RAG_INDEX=~/from-file\n")
    monkeypatch.setenv("RAG_INDEX", "")
    assert load_settings(tmp_path / ".env").index == Path.home() / "from-file"


def test_prompts_folder_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_PROMPTS", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="RAG_PROMPTS is not a folder"):
        load_settings(tmp_path / ".env")


def test_keys_are_masked(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("OPENAI_API_KEY=sk-secret\n")
    assert "sk-secret" not in repr(load_settings(env))


def test_binary_env_file_is_rejected(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(env)


def test_env_example_lists_every_variable() -> None:
    example = (Path(__file__).parent.parent / ".env.example").read_text()
    for variable in Settings.variables().values():
        assert f"\n{variable}=" in example

from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.settings import Settings, load_settings


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = tmp_path / ".env"
    env.write_text("OPENAI_API_KEY=from-file\nRAG_INDEX=somewhere\nUNKNOWN=1\n")
    assert load_settings(env).openai_api_key.get_secret_value() == "from-file"  # type: ignore[union-attr]
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    loaded = load_settings(env)
    assert loaded.openai_api_key.get_secret_value() == "from-environment"  # type: ignore[union-attr]
    assert loaded.index == Path("somewhere")


def test_empty_means_not_set(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("OPENAI_API_KEY=\nRAG_INDEX=\n")
    assert load_settings(env) == Settings()


def test_an_empty_variable_leaves_the_file_its_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("RAG_INDEX=~/from-file\n")
    monkeypatch.setenv("RAG_INDEX", "")
    assert load_settings(tmp_path / ".env").index == Path.home() / "from-file"


def test_a_folder_of_prompts_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_PROMPTS", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="RAG_PROMPTS names no folder"):
        load_settings(tmp_path / ".env")


def test_keys_are_not_shown(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("OPENAI_API_KEY=sk-secret\n")
    assert "sk-secret" not in repr(load_settings(env))


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(env)


def test_the_example_names_every_variable() -> None:
    example = (Path(__file__).parent.parent / ".env.example").read_text()
    for variable in Settings.variables().values():
        assert f"\n{variable}=" in example

"""Settings: API keys and paths from the environment and from ``.env`` in the working directory.

The environment overrides ``.env``. Nothing is written back to the environment. Keys are
`SecretStr`, which prints as asterisks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from rag.errors import ConfigError


class Settings(BaseModel):
    """Settings outside pipelines. Each field is read from the variable named by its alias.

    An empty variable counts as not set.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    openai_api_key: SecretStr | None = Field(None, alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(None, alias="OPENAI_BASE_URL")
    azure_openai_api_key: SecretStr | None = Field(None, alias="AZURE_OPENAI_API_KEY")
    azure_openai_endpoint: str | None = Field(None, alias="AZURE_OPENAI_ENDPOINT")
    anthropic_api_key: SecretStr | None = Field(None, alias="ANTHROPIC_API_KEY")
    gemini_api_key: SecretStr | None = Field(None, alias="GEMINI_API_KEY")
    cohere_api_key: SecretStr | None = Field(None, alias="COHERE_API_KEY")
    chroma_api_key: SecretStr | None = Field(None, alias="CHROMA_API_KEY")
    imap_password: SecretStr | None = Field(None, alias="IMAP_PASSWORD")
    judge: str | None = Field(None, alias="RAG_JUDGE")
    """Chat model that judges in evaluations, such as ``openai:gpt-4.1-mini``."""
    nli_model: str | None = Field(None, alias="RAG_NLI_MODEL")
    """NLI model for evaluations: a folder, or a name on the Hugging Face Hub."""
    index: Path = Field(Path(".rag"), alias="RAG_INDEX")
    """Folder of the index."""
    prompts: Path | None = Field(None, alias="RAG_PROMPTS")
    """Folder of prompt templates that override the shipped ones."""

    @field_validator("index", "prompts")
    @classmethod
    def _expand_home(cls, path: Path | None) -> Path | None:
        # Unlike Path.expanduser, this does not fail for an unknown user.
        return Path(os.path.expanduser(path)) if path is not None else None  # noqa: PTH111

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the name of each field's environment variable."""
        return {name: field.alias or name for name, field in cls.model_fields.items()}

    @classmethod
    def secret_variables(cls) -> list[str]:
        """Return the names of the environment variables that contain secrets."""
        return [name for name in cls.variables().values() if name.endswith(("_KEY", "_PASSWORD"))]


def load_settings(env_file: Path | None = None) -> Settings:
    """Read the settings.

    `env_file` defaults to ``.env`` in the working directory; it does not have to exist. Raises
    `ConfigError` if it cannot be read, or if RAG_PROMPTS is not a folder.
    """
    file_values = _read_env_file(env_file or Path(".env"))
    values = {
        name: os.environ.get(name) or file_values.get(name)
        for name in Settings.variables().values()
    }
    settings = Settings.model_validate({name: value for name, value in values.items() if value})
    if settings.prompts is not None and not os.path.isdir(settings.prompts):  # noqa: PTH112
        raise ConfigError(f"RAG_PROMPTS is not a folder: {settings.prompts}", setting="RAG_PROMPTS")
    return settings


def _read_env_file(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return {k: v for k, v in dotenv_values(path, interpolate=False).items() if v is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None

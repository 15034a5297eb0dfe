"""The contract of every component, and a function that runs a contract without pytest."""

from __future__ import annotations

import copy
import json
import pickle
import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar, get_args
from unittest import SkipTest

import yaml
from pydantic import SecretStr, ValidationError

from rag.component import Component, registered_names
from rag.errors import ConfigError
from rag.testing.calls import call_in_other_process, is_importable, list_nested_parts

P = TypeVar("P", bound=Component)

_CANARY = "canary-7f3a9c"
_SECRET_NAME = re.compile(r"(?:^|_)(?:api_key|password|passwd|secret|access_token|auth_token)$")


class PartContract(ABC, Generic[P]):
    """Checks that hold for every component; the base class of the contracts of all kinds.

    Derive a test class from the contract of the kind and implement `make_part`. pytest then
    collects the inherited tests. Other hooks have defaults; each contract documents its own. A
    check that a part cannot pass for a good reason is turned off by a method of the same name
    that has the mark ``pytest.mark.xfail`` or ``pytest.mark.skip``.
    """

    part_class: ClassVar[type[Component]] = Component
    """Base class of the kind."""

    @abstractmethod
    def make_part(self) -> P:
        """Return a new part. Each call returns an equal part."""

    def test_part_has_a_kind_a_name_and_a_revision(self) -> None:
        """The part derives from the base class of its kind; its name has no space and no colon."""
        part = self.make_part()
        assert isinstance(part, self.part_class), f"{part!r} is not a {self.part_class.__name__}"
        assert part.kind == self.part_class.kind, f"the kind is {part.kind!r}"
        assert isinstance(part.name, str) and part.name, "the part has no name"
        assert not re.search(r"[\s:]", part.name), f"the name {part.name!r} has white space or ':'"
        assert part.main_setting in ("", *type(part).model_fields), (
            f"the main setting {part.main_setting!r} is not a setting"
        )
        assert isinstance(part.revision, int) and part.revision >= 1, "the revision is below 1"

    def test_equal_settings_make_equal_parts(self) -> None:
        """Two parts with the same settings are equal, and have one hash and one fingerprint."""
        first, second = self.make_part(), self.make_part()
        assert first == second, "make_part returned two parts that are not equal"
        assert hash(first) == hash(second), "equal parts have different hashes"
        assert first.fingerprint == second.fingerprint, "equal parts have different fingerprints"

    def test_json_configuration_restores_the_part(self) -> None:
        """The configuration can be written as JSON, and an equal part can be built from it."""
        part = self._make_buildable_part()
        text = json.dumps(part.config(), allow_nan=False)
        _check_restored(part, json.loads(text))

    def test_yaml_configuration_restores_the_part(self) -> None:
        """The configuration can be written as YAML, and an equal part can be built from it."""
        part = self._make_buildable_part()
        text = yaml.safe_dump(part.config(), allow_unicode=True)
        _check_restored(part, yaml.safe_load(text))

    def test_settings_cannot_be_changed(self) -> None:
        """A part is frozen: assigning a setting raises an error."""
        part = self.make_part()
        for name in (*type(part).model_fields, "no_such_setting"):
            value = getattr(part, name, None)
            try:
                setattr(part, name, value)
            except (ValidationError, AttributeError, TypeError, ValueError):
                continue
            raise AssertionError(f"the setting {name!r} can be changed: the part is not frozen")

    def test_unknown_setting_is_refused(self) -> None:
        """An unknown setting raises `ConfigError`, and the message names it."""
        part = self.make_part()
        config = {**part.config(), **_settings_outside_config(part), "no_such_setting": 1}
        try:
            type(part).from_config(config)
        except ConfigError as error:
            assert "no_such_setting" in str(error), f"the message names no setting: {error}"
        else:
            raise AssertionError("an unknown setting was accepted")

    def test_pickle_restores_the_part(self) -> None:
        """A pickled part is equal to the original: parser processes receive parts in this way."""
        part = self._make_plain_part()
        if not is_importable(part):
            raise SkipTest("pickle cannot import the class of the part")
        restored = pickle.loads(pickle.dumps(part))
        assert restored == part, "the part changed when it was pickled"
        assert restored.fingerprint == part.fingerprint, "pickling changed the fingerprint"

    def test_deep_copy_is_equal(self) -> None:
        """A deep copy is equal to the original."""
        part = self._make_plain_part()
        assert copy.deepcopy(part) == part, "a deep copy differs from the part"

    def test_fingerprint_is_the_same_in_another_process(self) -> None:
        """The fingerprint does not depend on the process."""
        part = self._make_buildable_part()
        config = {**part.config(), **_settings_outside_config(part)}
        fingerprint = call_in_other_process(_compute_fingerprint, part, config)
        assert fingerprint == part.fingerprint, "another process computes another fingerprint"

    def test_configuration_has_no_secret(self) -> None:
        """Secrets are neither in the configuration nor in the text form of the part."""
        part = self.make_part()
        for name, field in type(part).model_fields.items():
            if not _is_secret(field.annotation):
                is_hidden = field.exclude or name not in part.config()
                assert is_hidden or not _SECRET_NAME.search(name), (
                    f"{name!r} holds a secret: its type must be pydantic.SecretStr"
                )
                continue
            secretive = part.model_copy(update={name: SecretStr(_CANARY)})
            for text in (json.dumps(secretive.config()), repr(secretive), str(secretive)):
                assert _CANARY not in text, f"the secret {name!r} is in {text[:200]}"
            assert secretive.fingerprint == part.fingerprint, "a secret changes the fingerprint"

    def _make_plain_part(self) -> P:
        part = self.make_part()
        if not part.is_plain:
            raise SkipTest("the part wraps an object that no configuration describes")
        return part

    def _make_buildable_part(self) -> P:
        """Return a part whose nested parts are registered, so that a name stands for each."""
        part = self._make_plain_part()
        for nested in list_nested_parts(part):
            if nested.name not in registered_names(nested.kind):
                raise SkipTest(f"the {nested.kind} {nested.name!r} in it is not registered")
        return part


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in get_args(annotation)


def _settings_outside_config(part: Component) -> dict[str, Any]:
    """Return the settings that the configuration leaves out: secrets and excluded fields."""
    config = part.config()
    return {name: getattr(part, name) for name in type(part).model_fields if name not in config}


def _check_restored(part: Component, config: dict[str, Any]) -> None:
    assert config.get("type") == part.name, "the configuration has no `type`"
    restored = type(part).from_config({**config, **_settings_outside_config(part)})
    assert restored == part, f"the configuration makes another part: {restored!r}, not {part!r}"
    assert restored.fingerprint == part.fingerprint, "the restored part has another fingerprint"


def _compute_fingerprint(part: Component, config: dict[str, Any]) -> str:
    """Build the part again from its configuration, and return its fingerprint."""
    return type(part).from_config(config).fingerprint


def run_contract(contract_class: type, *names: str) -> dict[str, Exception]:
    """Run the tests of a contract without pytest, and return the errors by the name of the test.

    `names` are the tests to run; without any, all are run. ``setup_method`` and
    ``teardown_method`` are called as pytest does; fixtures and marks are not supported. Skipped
    tests are not errors.
    """
    errors: dict[str, Exception] = {}
    for name in names or [name for name in dir(contract_class) if name.startswith("test_")]:
        contract = contract_class()
        try:
            getattr(contract, "setup_method", _do_nothing)()
            try:
                getattr(contract, name)()
            finally:
                getattr(contract, "teardown_method", _do_nothing)()
        except SkipTest:
            continue
        except Exception as error:  # the result of the run
            errors[name] = error
    return errors


def _do_nothing() -> None:
    """Stand for a hook that a contract does not have."""

"""Synonyms in questions and texts, and the tables they are read from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rag.text.synonyms as module
from rag.text.function_words import LANGUAGES
from rag.text.synonyms import SYNONYM_LANGUAGES, find_synonymous_words, synonym_stems
from rag.text.tokenization import STOP_WORDS, words

FOLDER = Path(module.__file__).parent
FUNCTION_WORDS = dict(
    zip(("en", "de", "fr", "es"), (language.function_words for language in LANGUAGES), strict=False)
)


def read_lines(language: str) -> list[str]:
    content = (FOLDER / f"{language}.txt").read_text(encoding="utf-8")
    return [line for line in content.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("question", "text", "found"),
    [
        ("What was the revenue in 2023?", "Turnover: NOK 201.7 million", {"revenue"}),
        ("EBIT 2024?", "Operating profit: 11.2 million", {"ebit"}),
        ("days of illness", "Sick leave was 6.8 %.", {"illness"}),
        ("What is the credit period?", "Payment within 20 days.", {"credit", "period"}),
        ("Who is in charge of cleaning?", "Ann is responsible.", {"in", "charge"}),
        ("Can I bring my dog?", "Pets are welcome.", {"dog"}),
        (
            "Are pets allowed?",
            "Dogs must be on a lead; they are forbidden upstairs.",
            {"pets", "allowed"},
        ),
        ("Is smoking permitted?", "Smoking is prohibited.", {"permitted"}),
        ("CEOs of the group", "The managing director is Ann.", {"ceos"}),
        ("Wie hoch ist der Rabatt?", "Nachlass: 5 %", {"rabatt"}),
        ("Wie viele Urlaubstage gibt es?", "30 Tage Ferien im Jahr", {"urlaubstage"}),
        ("Qui dirige le site ?", "La directrice est Anne.", {"dirige"}),
        ("¿Cuánto cuesta el alquiler?", "La renta es de 800 euros.", {"alquiler"}),
        ("Is the credit limit reached?", "The loan was paid.", set()),
        ("Are dogs allowed?", "Cats are here.", set()),  # both are pets, but not the same
        ("How many words?", "None of these.", set()),
        ("", "Turnover", set()),
        ("revenue", "", set()),
    ],
)
def test_words_with_a_synonym_in_the_text(question: str, text: str, found: set[str]) -> None:
    synonyms = find_synonymous_words(question, text)
    assert synonyms - set(words(text)) == found


def test_every_synonym_is_one_in_both_directions() -> None:
    for language in SYNONYM_LANGUAGES:
        for line in read_lines(language):
            if "=>" in line:
                first, _, others = line.partition("=>")
                pairs = [(first, word) for word in others.split(",")]
            else:
                terms = line.split(",")
                pairs = [(terms[0], term) for term in terms[1:]]
            for pair in pairs:
                for question, text in (pair, pair[::-1]):
                    assert find_synonymous_words(question, text) == set(words(question)), line


@pytest.mark.parametrize("language", SYNONYM_LANGUAGES)
def test_the_tables_hold_distinct_terms_that_mean_something(language: str) -> None:
    lines = read_lines(language)
    assert len(set(lines)) == len(lines)
    for line in lines:
        terms = [term.strip() for term in re.split(",|=>", line)]
        assert len(terms) > 1, line
        assert all(map(words, terms)), line
        assert len({term.lower() for term in terms}) == len(terms), line
        for term in terms:
            alone = term.lower()
            assert alone not in STOP_WORDS, line
            assert alone not in FUNCTION_WORDS[language], line


def test_stems_are_those_of_the_index() -> None:
    english = synonym_stems("en")
    assert "turnov" in english["revenu"]
    assert "revenu" in english["turnov"]
    assert "revenu" not in english["revenu"]
    assert {"colour", "color"} <= set(english["shade"])  # both spellings are in texts
    assert "rechnung" in synonym_stems("de")["faktura"]
    assert synonym_stems("fi") == {}

"""Questions in German and French to documents in the same language."""

from __future__ import annotations

import pytest

from rag import Pipeline
from rag.text.function_words import question_stems

FILES = {
    "vertrag.md": "# Mietvertrag\n\n## Kündigung\n\nDas Mietverhältnis kann mit einer Frist von drei "
    "Monaten gekündigt werden. Die Kündigung muss bis zum 3. Werktag eingehen.\n\n"
    "## Hausordnung\n\nHaustiere sind nur mit Zustimmung des Vermieters erlaubt. Die Ruhezeit "
    "beginnt um 22 Uhr. Der Hausmeister heißt Jens Ohlsen.\n",
    "contrat.md": "# Contrat de location\n\n## Résiliation\n\nLe préavis est de trois mois. La "
    "résiliation doit être envoyée par lettre recommandée.\n\n## Règlement\n\nLes animaux sont "
    "interdits dans le jardin. Le gardien s'appelle Luc Moreau.\n",
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("docs")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    pipeline = Pipeline(index=tmp_path_factory.mktemp("index"))
    pipeline.ingest(folder)
    return pipeline


@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("Wie lange ist die Kündigungsfrist?", "drei Monaten"),
        ("Bis wann muss die Kündigung eingehen?", "bis zum 3. Werktag eingehen."),
        ("Sind Haustiere erlaubt?", "nur mit Zustimmung"),
        ("Wer ist der Hausmeister?", "Jens Ohlsen"),
        ("Wann beginnt die Ruhezeit?", "22 Uhr"),
        ("Quelle est la durée du préavis ?", "trois mois"),
        ("Qui est le gardien ?", "Luc Moreau"),
        ("Comment faut-il envoyer la résiliation ?", "lettre recommandée"),
    ],
)
def test_a_question_is_answered(pipeline: Pipeline, question: str, quote: str) -> None:
    answer = pipeline.ask(question)
    assert answer.status == "answered", answer.reason
    assert quote in answer.citations[0].quote


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("Wie hoch ist die Provision?", 'do not mention "Provision" ('),
        ("Wie heißt der Bürgermeister?", 'do not mention "Bürgermeister" ('),
        ("Qui est le maire ?", 'do not mention "maire" ('),
    ],
)
def test_a_refusal_names_no_function_words(pipeline: Pipeline, question: str, missing: str) -> None:
    answer = pipeline.ask(question)
    assert answer.status == "abstained"
    assert missing in answer.reason


@pytest.mark.parametrize(
    ("question", "content"),
    [
        ("Can you tell me where I can park?", ["park"]),
        ("Darf ich einen Hund halten?", ["hund", "halten"]),
        ("Können wir unser Auto hier abstellen?", ["auto", "hier", "abstellen"]),
        ("Est-ce que je peux avoir un chien ?", ["chien"]),
        ("¿Puedo tener un perro?", ["perro"]),
        ("Posso avere un cane?", ["cane"]),
        ("Posso ter um cão?", ["cão"]),
        ("Mag ik een hond houden?", ["hond", "houden"]),
    ],
)
def test_first_and_second_persons_are_no_topic(question: str, content: list[str]) -> None:
    assert [stem for stem in question_stems(question) if stem != "tell"] == content

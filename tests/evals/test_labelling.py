"""People judge: the page on loopback, and the file that keeps what they said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import httpx
import pytest

from evals.calibration import load_labelled
from evals.labelling import Labels, Task, collect_tasks
from evals.labelling_server import LabelServer
from evals.questions import Question
from evals.runs import run
from rag.errors import QueryError

TASKS = [
    Task(str(i), "Why?", f"Claim <b>{i}</b>.", "Answer.", ("Context.",), ("title",))
    for i in range(3)
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LabelServer]:
    label_server = LabelServer(TASKS, Labels(tmp_path / "labels.jsonl"))
    thread = Thread(target=label_server.serve)
    thread.start()
    yield label_server
    label_server.close()
    thread.join()


def post(server: LabelServer, body: object, token: str | None = None) -> httpx.Response:
    address = server.url.partition("?")[0]
    headers = {"X-Token": server.token if token is None else token}
    return httpx.post(address, json=body, headers=headers)


def test_judging_goes_through_the_tasks(server: LabelServer, tmp_path: Path) -> None:
    page = httpx.get(server.url)
    assert page.status_code == 200 and "script-src" in page.headers["content-security-policy"]
    following = server.url.replace("/?", "/next?")
    first = httpx.get(following).json()
    assert (first["left"], first["of"], first["task"]["id"]) == (3, 3, "0")
    assert post(server, {"id": "0", "verdict": "yes"}).json() == {"added": True}
    assert post(server, {"id": "0", "verdict": "no"}).json() == {"added": False}  # the first counts
    assert post(server, {"id": "1", "verdict": "skip"}).json() == {"added": True}
    assert post(server, {"id": "2", "verdict": "no"}).json() == {"added": True}
    assert httpx.get(following).json()["task"] is None
    labelled_rows = load_labelled(tmp_path / "labels.jsonl")
    assert [(row.text, row.label) for row in labelled_rows] == [
        ("Claim <b>0</b>.", True),
        ("Claim <b>2</b>.", False),
    ]
    assert Labels(tmp_path / "labels.jsonl").open_tasks(TASKS) == []


def test_nobody_else_may_judge(server: LabelServer) -> None:
    address = server.url.partition("?")[0]
    assert httpx.get(address).status_code == 403
    assert httpx.get(f"{address}?token=wrong").status_code == 403
    assert post(server, {"id": "0", "verdict": "yes"}, token="").status_code == 403
    assert httpx.get(server.url, headers={"Host": "evil.example"}).status_code == 403
    for body in ({"id": "9", "verdict": "yes"}, {"id": "0", "verdict": "perhaps"}, [1], "x"):
        assert post(server, body).status_code == 400, body
    assert post(server, {"id": "0", "verdict": "x" * 20_000}).status_code == 413
    assert httpx.get(server.url.replace("/?", "/etc/passwd?")).status_code == 404


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    labels = Labels(path)
    assert labels.add(TASKS[0], "yes")
    path.write_bytes(path.read_bytes() + b'{"id": "1", "lab')
    again = Labels(path)
    assert [task.id for task in again.open_tasks(TASKS)] == ["1", "2"]
    assert again.add(TASKS[1], "no")
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["0", "1"]


def test_the_claims_of_a_run_are_the_tasks(tmp_path: Path) -> None:
    questions = [
        Question(
            id="1", question="Q?", answer="It flies. It sinks. It flies.", contexts=("It flies.",)
        )
    ]
    tasks = collect_tasks(run(None, questions, tmp_path / "run"))
    assert [task.claim for task in tasks] == ["It flies.", "It sinks."]
    assert len({task.id for task in tasks}) == 2 and tasks[0].contexts == ("It flies.",)
    refusal = [Question(id="1", question="Q?", answer="I don't know.", contexts=("x",))]
    with pytest.raises(QueryError, match="no claim"):
        collect_tasks(run(None, refusal, tmp_path / "other"))

from __future__ import annotations

import socket

import httpx
import pytest

from rag import Pipeline
from rag.serving import Options
from tests.conftest import HANDBOOK
from tests.serving.conftest import Server, running

QUESTION = "How long does a full battery last?"


def test_an_upload_is_ingested_cited_replaced_and_deleted(keyed: Server) -> None:
    key = keyed.bearer("a", "acme")
    job = keyed.upload("Handbook of Ü.md", HANDBOOK.encode(), key)
    assert (job["state"], job["added"], job["failed"]) == ("done", 1, [])
    answer = keyed.client.post("/ask", json={"question": QUESTION}, headers=key).json()
    (cited,) = answer["citations"]
    assert cited["uri"].startswith("upload:///Handbook") and cited["verified"]
    span = {name: cited[name] for name in ("uri", "start", "end")}
    source = keyed.client.get("/documents/source", params=span, headers=key).json()
    shown = source["text"][cited["start"] - source["offset"] : cited["end"] - source["offset"]]
    assert shown == cited["quote"]
    job = keyed.upload("Handbook of Ü.md", HANDBOOK.replace("34", "35").encode(), key)
    assert job["updated"] == 1
    answer = keyed.client.post("/ask", json={"question": QUESTION}, headers=key).json()
    assert "35 minutes" in answer["text"]
    gone = keyed.client.delete("/documents", params={"uri": cited["uri"]}, headers=key)
    assert gone.json() == {"deleted": 1}
    assert keyed.client.get("/documents", headers=key).json()["total"] == 0
    assert (
        keyed.client.delete("/documents", params={"uri": cited["uri"]}, headers=key).status_code
        == 404
    )


def test_what_cannot_be_read_is_reported(keyed: Server) -> None:
    key = keyed.bearer("a")
    job = keyed.upload("broken.pdf", b"%PDF-1.4 no", key)
    assert job["state"] == "done" and "PDF" in job["failed"][0]["error"]
    failures = keyed.client.get("/documents", headers=key).json()["failures"]
    assert failures[0]["uri"] == "upload:///broken.pdf"
    assert (
        keyed.client.delete(
            "/documents", params={"uri": "upload:///broken.pdf"}, headers=key
        ).status_code
        == 200
    )
    assert keyed.client.get("/documents", headers=key).json()["failures"] == []


def test_uploads_of_a_namespace_have_a_bound(pipeline: Pipeline) -> None:
    with running(pipeline, options=Options(namespace_bytes=100, rate=1e9, burst=10**9)) as server:
        assert server.upload("a.txt", b"x" * 60)["state"] == "done"
        more = server.client.post("/documents", files={"files": ("b.txt", b"x" * 60)})
        assert (more.status_code, more.json()["error"]["code"]) == (413, "quota_exceeded")


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.txt",
        "/etc/passwd",
        "..\\..\\evil.txt",
        "a/../../b.txt",
        "%2e%2e%2fevil.txt",
        "con\u202etxt.exe",
    ],
)
def test_names_of_files_lead_nowhere(server: Server, pipeline: Pipeline, name: str) -> None:
    before = {p for p in pipeline.index.parent.rglob("*") if pipeline.index not in p.parents}
    sent = server.client.post("/documents", files={"files": (name, b"Some words of text.")})
    assert sent.status_code in (202, 400)
    if sent.status_code == 202:
        (kept,) = sent.json()["files"]
        assert "/" not in kept and "\\" not in kept
    after = {p for p in pipeline.index.parent.rglob("*") if pipeline.index not in p.parents}
    assert after == before


def test_files_without_a_name_or_with_the_same_are_refused(server: Server) -> None:
    for files in (
        [("files", ("..", b"x"))],
        [("files", ("a.txt", b"x")), ("files", ("b/a.txt", b"y"))],
        [("files", ("n" * 300, b"x"))],
    ):
        refused = server.client.post("/documents", files=files)
        assert refused.status_code == 400, refused.text


def test_another_writer_is_told_apart(server: Server, pipeline: Pipeline) -> None:
    with pipeline.open().writing():
        gone = server.client.delete("/documents", params={"uri": "file:///x"})
        assert (gone.status_code, gone.json()["error"]["code"]) == (409, "index_locked")
        sent = server.client.post("/documents", files={"files": ("a.txt", b"x y z")}).json()
        while (job := server.client.get(f"/jobs/{sent['id']}").json())["state"] in (
            "waiting",
            "running",
        ):
            pass
        assert job["state"] == "failed" and "another process is writing" in job["error"]


def test_the_client_may_go_away_during_an_upload(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST /documents HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        'Content-Disposition: form-data; name="files"; filename="half.txt"\r\n\r\nhalf of it'
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
    assert server.client.get("/documents").json()["total"] == 2
    assert not httpx.get(f"{server.url}/jobs").json()["jobs"]


def test_one_name_at_once_has_one_whole_content(keyed: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    key = keyed.bearer("a")
    texts = [f"The number of this file is {i}{i}{i}{i}. ".encode() * (i + 1) * 50 for i in range(8)]

    def send(text: bytes) -> int:
        return httpx.post(
            f"{keyed.url}/documents", files={"files": ("a.txt", text)}, headers=key, timeout=60
        ).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(send, texts * 3)) == {202}
    jobs = keyed.client.get("/jobs", headers=key).json()["jobs"]
    while any(job["state"] in ("waiting", "running") for job in jobs):
        jobs = keyed.client.get("/jobs", headers=key).json()["jobs"]
    assert {job["state"] for job in jobs} == {"done"}
    source = keyed.client.get(
        "/documents/source", params={"uri": "upload:///a.txt"}, headers=key
    ).json()
    tenant = keyed.app.state.service.tenants._known[""]
    (upload,) = tenant.uploads.uploads()
    assert source["text"].encode() == tenant.uploads.read(upload.digest)
    assert len(list(tenant.uploads.folder.iterdir())) <= 1 + len(texts)  # until the next job


def test_what_was_accepted_is_ingested_after_a_restart(pipeline: Pipeline) -> None:
    from rag.serving.uploads import UploadStore

    with running(pipeline) as server:
        server.upload("a.txt", b"The heron is grey.")
    store = UploadStore(pipeline.index / "uploads")
    import io

    store.keep(
        [store.stage("b.txt", io.BytesIO(b"The kingfisher is blue."))]
    )  # and then the power went
    store.stage("c.txt", io.BytesIO(b"half of it"))
    with running(pipeline.model_copy()) as server:
        jobs = server.client.get("/jobs").json()["jobs"]
        assert [job["files"] for job in jobs] == [["b.txt"]]
        while (job := server.client.get(f"/jobs/{jobs[0]['id']}").json())["state"] in (
            "waiting",
            "running",
        ):
            pass
        assert job["added"] == 1
        assert server.client.get("/documents").json()["total"] == 2
    assert not list(store.folder.glob("*.partial"))


def test_a_part_of_an_upload_is_not_deleted_by_itself(server: Server) -> None:
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "One heron.")
        archive.writestr("b.txt", "Two herons.")
    server.upload("t.zip", out.getvalue())
    refused = server.client.delete("/documents", params={"uri": "upload:///t.zip!/a.txt"})
    assert refused.status_code == 400
    assert server.client.delete("/documents", params={"uri": "upload:///"}).json() == {"deleted": 2}
    folder = server.app.state.service.tenants._known[""].uploads.folder
    assert not list(folder.iterdir())


def test_uploads_that_are_refused_change_nothing(pipeline: Pipeline) -> None:
    with running(pipeline, options=Options(namespace_bytes=1_000, rate=1e9, burst=10**9)) as server:
        from concurrent.futures import ThreadPoolExecutor

        def send(i: int) -> int:
            files = {"files": (f"{i}.txt", b"word " * 120)}
            return httpx.post(f"{server.url}/documents", files=files, timeout=60).status_code

        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(send, range(8)))
        assert sorted(statuses) == [202] + [413] * 7
        again = server.client.post(
            "/documents", files={"files": (f"{statuses.index(202)}.txt", b"x" * 900)}
        )
        assert again.status_code == 202  # in place of what it replaces
        store = server.app.state.service.tenants._known[""].uploads
        assert sum(upload.size for upload in store.uploads()) == 900
        assert not list(store.folder.glob("*.partial"))


def test_jobs_are_told_after_their_namespace_was_closed(keyed: Server) -> None:
    keyed.app.state.service.tenants._most = 1
    keys = [keyed.bearer(f"k{i}", f"n{i}") for i in range(3)]
    job = keyed.upload("a.md", b"Some words.", keys[0])
    for key in keys[1:]:
        keyed.upload("a.md", b"Some words.", key)
    assert keyed.client.get(f"/jobs/{job['id']}", headers=keys[0]).json()["state"] == "done"


async def test_the_first_two_requests_of_a_namespace_come_at_once(pipeline: Pipeline) -> None:
    import io

    import anyio
    from anyio import to_thread

    from rag.serving.tenants import Tenants

    tenants = Tenants(pipeline)

    async def upload(number: int) -> None:
        async with tenants.lease("") as tenant:
            name, content = f"{number}.txt", io.BytesIO(b"word " * 100_000)
            staged = await to_thread.run_sync(tenant.uploads.stage, name, content)
            await tenants.upload(tenant, [staged], 10**9)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(upload, number)
    async with tenants.lease("") as tenant:
        assert len(tenant.uploads.uploads()) == 8
    await tenants.close()

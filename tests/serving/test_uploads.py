from __future__ import annotations

import io
import socket
import zipfile
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest
from anyio import to_thread

from rag import Pipeline
from rag.serving import Options
from rag.serving.tenants import Tenants
from rag.serving.uploads import UploadStore
from tests.conftest import HANDBOOK
from tests.serving.conftest import QUESTION, Server, serve_pipeline


def test_an_upload_is_ingested_cited_replaced_and_deleted(keyed_server: Server) -> None:
    key = keyed_server.bearer("a", "acme")
    job = keyed_server.upload("Handbook of Ü.md", HANDBOOK.encode(), key)
    assert (job["state"], job["added"], job["failed"]) == ("done", 1, [])
    answer = keyed_server.client.post("/ask", json={"question": QUESTION}, headers=key).json()
    (citation,) = answer["citations"]
    assert citation["uri"].startswith("upload:///Handbook") and citation["verified"]
    span = {name: citation[name] for name in ("uri", "start", "end")}
    source = keyed_server.client.get("/documents/source", params=span, headers=key).json()
    start, end = citation["start"] - source["offset"], citation["end"] - source["offset"]
    assert source["text"][start:end] == citation["quote"]
    job = keyed_server.upload("Handbook of Ü.md", HANDBOOK.replace("34", "35").encode(), key)
    assert job["updated"] == 1
    answer = keyed_server.client.post("/ask", json={"question": QUESTION}, headers=key).json()
    assert "35 minutes" in answer["text"]
    deletion = keyed_server.client.delete(
        "/documents", params={"uri": citation["uri"]}, headers=key
    )
    assert deletion.json() == {"deleted": 1}
    assert keyed_server.client.get("/documents", headers=key).json()["total"] == 0
    assert (
        keyed_server.client.delete(
            "/documents", params={"uri": citation["uri"]}, headers=key
        ).status_code
        == 404
    )


def test_unreadable_uploads_are_listed_as_failures(keyed_server: Server) -> None:
    key = keyed_server.bearer("a")
    job = keyed_server.upload("broken.pdf", b"%PDF-1.4 no", key)
    assert job["state"] == "done" and "PDF" in job["failed"][0]["error"]
    failures = keyed_server.client.get("/documents", headers=key).json()["failures"]
    assert failures[0]["uri"] == "upload:///broken.pdf"
    assert (
        keyed_server.client.delete(
            "/documents", params={"uri": "upload:///broken.pdf"}, headers=key
        ).status_code
        == 200
    )
    assert keyed_server.client.get("/documents", headers=key).json()["failures"] == []


def test_uploads_of_a_namespace_have_a_size_limit(pipeline: Pipeline) -> None:
    with serve_pipeline(
        pipeline, options=Options(namespace_bytes=100, rate=1e9, burst=10**9)
    ) as server:
        assert server.upload("a.txt", b"x" * 60)["state"] == "done"
        response = server.client.post("/documents", files={"files": ("b.txt", b"x" * 60)})
        assert (response.status_code, response.json()["error"]["code"]) == (413, "quota_exceeded")


def test_documents_and_conversations_of_a_namespace_have_a_limit(pipeline: Pipeline) -> None:
    options = Options(namespace_documents=2, namespace_conversations=1, rate=1e9, burst=10**9)
    with serve_pipeline(pipeline, options=options) as server:
        for name in ("a.txt", "b.txt"):
            assert server.upload(name, b"The kite flies.")["state"] == "done"
        response = server.client.post("/documents", files={"files": ("c.txt", b"One more.")})
        assert (response.status_code, response.json()["error"]["code"]) == (413, "quota_exceeded")
        assert server.upload("b.txt", b"The kite lands.")["state"] == "done", "replaced"

        def ask(conversation: str) -> int:
            body = {"question": "What does the kite do?", "conversation": conversation}
            return server.client.post("/ask", json=body).status_code

        assert [ask("first"), ask("first"), ask("second")] == [200, 200, 413]


def test_documents_of_an_archive_count(pipeline: Pipeline) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(40):
            archive.writestr(f"{i}.md", f"Kite {i} flies.")
    options = Options(namespace_documents=3, rate=1e9, burst=10**9)
    with serve_pipeline(pipeline, options=options) as server:
        job = server.upload("kites.zip", buffer.getvalue())
        assert job["state"] == "failed" and "more documents" in job["error"]
        assert server.client.get("/documents").json()["total"] == 0
        store = server.app.state.service.tenants._tenants[""].uploads
        assert store.uploads() == [], "a restart would ingest it"
        assert server.upload("a.md", b"The kite flies.")["state"] == "done"


def test_a_file_name_of_200_bytes_is_taken(server: Server) -> None:
    name = "ä" * 98 + ".txt"
    assert len(name.encode()) == 200
    assert server.upload(name, b"The kite flies.")["state"] == "done"
    documents = server.client.get("/documents").json()["documents"]
    (uri,) = [document["uri"] for document in documents if "upload:" in document["uri"]]
    parameters = {"uri": uri}
    assert server.client.get("/documents/source", params=parameters).json()["text"]
    assert server.client.delete("/documents", params=parameters).json() == {"deleted": 1}
    response = server.client.post("/documents", files={"files": ("ä" + name, b"The kite flies.")})
    assert response.status_code == 400


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
def test_file_names_cannot_leave_the_uploads_folder(
    server: Server, pipeline: Pipeline, name: str
) -> None:
    paths_before = {p for p in pipeline.index.parent.rglob("*") if pipeline.index not in p.parents}
    response = server.client.post("/documents", files={"files": (name, b"Some words of text.")})
    assert response.status_code in (202, 400)
    if response.status_code == 202:
        (stored_name,) = response.json()["files"]
        assert "/" not in stored_name and "\\" not in stored_name
    paths_after = {p for p in pipeline.index.parent.rglob("*") if pipeline.index not in p.parents}
    assert paths_after == paths_before


def test_files_with_invalid_or_equal_names_are_refused(server: Server) -> None:
    for files in (
        [("files", ("..", b"x"))],
        [("files", ("a.txt", b"x")), ("files", ("b/a.txt", b"y"))],
        [("files", ("n" * 300, b"x"))],
    ):
        response = server.client.post("/documents", files=files)
        assert response.status_code == 400, response.text


def test_another_writing_process_is_reported_as_a_conflict(
    server: Server, pipeline: Pipeline
) -> None:
    with pipeline.open().open_writer():
        deletion = server.client.delete("/documents", params={"uri": "file:///x"})
        assert (deletion.status_code, deletion.json()["error"]["code"]) == (409, "index_locked")
        job = server.upload("a.txt", b"x y z")
        assert job["state"] == "failed" and "another process is writing" in job["error"]


def test_an_interrupted_upload_stores_nothing(server: Server) -> None:
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


def test_concurrent_uploads_of_one_name_store_one_complete_content(keyed_server: Server) -> None:
    key = keyed_server.bearer("a")
    texts = [f"The number of this file is {i}{i}{i}{i}. ".encode() * (i + 1) * 50 for i in range(8)]

    def send(text: bytes) -> int:
        return httpx.post(
            f"{keyed_server.url}/documents",
            files={"files": ("a.txt", text)},
            headers=key,
            timeout=60,
        ).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(send, texts * 3)) == {202}
    jobs = keyed_server.client.get("/jobs", headers=key).json()["jobs"]
    jobs = [keyed_server.await_job(job["id"], key) for job in jobs]
    assert {job["state"] for job in jobs} == {"done"}
    source = keyed_server.client.get(
        "/documents/source", params={"uri": "upload:///a.txt"}, headers=key
    ).json()
    tenant = keyed_server.app.state.service.tenants._tenants[""]
    (upload,) = tenant.uploads.uploads()
    assert source["text"].encode() == tenant.uploads.read(upload.digest)
    assert len(list(tenant.uploads.folder.iterdir())) <= 1 + len(texts)  # until the next job


def test_stored_uploads_are_ingested_after_a_restart(pipeline: Pipeline) -> None:
    with serve_pipeline(pipeline) as server:
        server.upload("a.txt", b"The heron is grey.")
    store = UploadStore(pipeline.index / "uploads")
    store.keep(
        [store.stage("b.txt", io.BytesIO(b"The kingfisher is blue."))]
    )  # as before a power failure
    store.stage("c.txt", io.BytesIO(b"half of it"))
    with serve_pipeline(pipeline.model_copy()) as server:
        jobs = server.client.get("/jobs").json()["jobs"]
        assert [job["files"] for job in jobs] == [["b.txt"]]
        assert server.await_job(jobs[0]["id"])["added"] == 1
        assert server.client.get("/documents").json()["total"] == 2
    assert not list(store.folder.glob("*.partial"))


@pytest.mark.parametrize("uri", ["file:///", "file:", "file:// /", "x:////", " "])
def test_a_uri_without_a_name_deletes_nothing(server: Server, uri: str) -> None:
    server.upload("a.md", b"The kite flies.")
    response = server.client.delete("/documents", params={"uri": uri})
    assert response.status_code == 400 and "nothing was deleted" in response.text
    assert server.client.get("/documents").json()["total"] > 0


def test_a_part_of_an_upload_cannot_be_deleted_alone(server: Server) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "One heron.")
        archive.writestr("b.txt", "Two herons.")
    server.upload("t.zip", buffer.getvalue())
    response = server.client.delete("/documents", params={"uri": "upload:///t.zip!/a.txt"})
    assert response.status_code == 400
    assert server.client.delete("/documents", params={"uri": "upload:///"}).json() == {"deleted": 2}
    folder = server.app.state.service.tenants._tenants[""].uploads.folder
    assert not list(folder.iterdir())


def test_refused_uploads_change_nothing(pipeline: Pipeline) -> None:
    with serve_pipeline(
        pipeline, options=Options(namespace_bytes=1_000, rate=1e9, burst=10**9)
    ) as server:

        def send(i: int) -> int:
            files = {"files": (f"{i}.txt", b"word " * 120)}
            return httpx.post(f"{server.url}/documents", files=files, timeout=60).status_code

        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(send, range(8)))
        assert sorted(statuses) == [202] + [413] * 7
        replacement = server.client.post(
            "/documents", files={"files": (f"{statuses.index(202)}.txt", b"x" * 900)}
        )
        assert replacement.status_code == 202  # replaced bytes do not count
        store = server.app.state.service.tenants._tenants[""].uploads
        assert sum(upload.size for upload in store.uploads()) == 900
        assert not list(store.folder.glob("*.partial"))


def test_jobs_are_available_after_their_namespace_was_closed(keyed_server: Server) -> None:
    keyed_server.app.state.service.tenants._max_open = 1
    keys = [keyed_server.bearer(f"k{i}", f"n{i}") for i in range(3)]
    job = keyed_server.upload("a.md", b"Some words.", keys[0])
    for key in keys[1:]:
        keyed_server.upload("a.md", b"Some words.", key)
    assert keyed_server.client.get(f"/jobs/{job['id']}", headers=keys[0]).json()["state"] == "done"


async def test_concurrent_first_requests_of_a_namespace_keep_all_uploads(
    pipeline: Pipeline,
) -> None:
    tenants = Tenants(pipeline)

    async def upload(number: int) -> None:
        async with tenants.lease("") as tenant:
            name, content = f"{number}.txt", io.BytesIO(b"word " * 100_000)
            staged = await to_thread.run_sync(tenant.uploads.stage, name, content)
            await tenants.upload(tenant, [staged], Options())

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(upload, number)
    async with tenants.lease("") as tenant:
        assert len(tenant.uploads.uploads()) == 8
    await tenants.close()

"""Load test of ``rag serve`` on loopback: fifty chat clients of ten tenants at once.

    python -m benchmarks.serving            # two minutes
    DURATION=20 python -m benchmarks.serving
    HOSTILE=10 python -m benchmarks.serving   # the same, then with 10 of the 50 clients hostile

Hostile clients stall in the head or in the body of a request, hang up, send bodies that are too
large, and upload archives of much text. The others are compared with those of a run without them.

Each client asks questions that only the documents of its own tenant answer, through `/ask`, as a
stream, and through OpenAI's API. It closes every tenth stream in the middle. The result has the
errors, the answers with words of another tenant, p50 and p95 in milliseconds, and the memory,
threads and open files of the server over time. The floor, in the same run: one process asks the
pipeline the same questions, one after another.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from rag import Pipeline
from rag.serving import KeyStore

TENANTS, CLIENTS = 10, 50
SECONDS = float(os.environ.get("DURATION", "120"))
HOSTILE = int(os.environ.get("HOSTILE", "0"))
SUBJECTS = "anchor bridge canal dock engine ferry gauge harbour island jetty".split()


@dataclass
class Tally:
    """The results of the requests."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0
    hangups: int = 0


def code(tenant: int, subject: str) -> str:
    """Return the code that only the documents of `tenant` contain."""
    return f"T{tenant:02}{subject[:3].upper()}"


def write_documents(folder: Path, tenant: int) -> None:
    """Write a document per subject: one sentence with a code, and filler."""
    folder.mkdir()
    for subject in SUBJECTS:
        filler = " ".join(f"The {subject} was painted in {1900 + i}." for i in range(100))
        sentence = f"The code of the {subject} is {code(tenant, subject)}."
        (folder / f"{subject}.txt").write_text(f"{sentence}\n\n{filler}\n", encoding="utf-8")


async def client(url: str, key: str, tenant: int, number: int, until: float, tally: Tally) -> None:
    """Send questions until the time `until`, and count the results in `tally`."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
        turn = 0
        while time.monotonic() < until:
            turn += 1
            subject = SUBJECTS[(turn + number) % len(SUBJECTS)]
            question = f"What is the code of the {subject}?"
            started = time.perf_counter()
            try:
                if turn % 10 == 0:
                    await hang_up(http, question)
                    tally.hangups += 1
                    continue
                text = await ask_server(http, question, turn % 3)
            except Exception as error:
                tally.errors.append(f"{type(error).__name__}: {error}")
                continue
            tally.seconds.append(time.perf_counter() - started)
            if code(tenant, subject) not in text:
                tally.errors.append(f"no answer: {text[:80]}")
            if any(
                tenant_code != f"T{tenant:02}"
                for tenant_code in re.findall(r"\bT\d\d(?=[A-Z]{3}\b)", text)
            ):
                tally.wrong += 1


async def ask_server(http: httpx.AsyncClient, question: str, way: int) -> str:
    """Return the whole response, requested in one of three ways."""
    if way == 0:
        response = await http.post("/ask", json={"question": question})
    elif way == 1:
        response = await http.post("/ask", json={"question": question, "stream": True})
    else:
        messages = [{"role": "user", "content": question}]
        body = {"model": "citewell", "messages": messages, "stream": True}
        response = await http.post("/v1/chat/completions", json=body)
    if response.status_code != 200 or '"error"' in response.text:
        raise RuntimeError(f"{response.status_code} {response.text[:100]}")
    return response.text


async def hang_up(http: httpx.AsyncClient, question: str) -> None:
    """Start a stream and close the connection before its end."""
    body = {"question": question, "stream": True}
    async with http.stream("POST", "/ask", json=body) as response:
        async for _ in response.aiter_bytes(16):
            break


async def attack(url: str, key: str, number: int, until: float) -> None:
    """Be one of five kinds of hostile client until the time `until`."""
    attacks = (stall_in_head, stall_in_body, hang_up_often, send_huge_bodies, upload_bombs)
    while time.monotonic() < until:
        with contextlib.suppress(OSError, httpx.HTTPError, asyncio.TimeoutError):
            async with asyncio.timeout(until - time.monotonic() + 1):
                await attacks[number % len(attacks)](url, key)


async def stall_in_head(url: str, key: str) -> None:
    """Send a head that does not end, byte by byte."""
    await _drip(url, f"POST /ask HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nX-A: ")


async def stall_in_body(url: str, key: str) -> None:
    """Send the beginning of a body that does not go on."""
    head = f"POST /ask HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    await _drip(url, head + "Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{")


async def _drip(url: str, beginning: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(beginning.encode())
        for _ in range(40):
            await asyncio.sleep(0.5)
            writer.write(b" ")
            await writer.drain()
    finally:
        writer.close()


async def hang_up_often(url: str, key: str) -> None:
    """Ask, and close the connection before the answer."""
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        await hang_up(http, "What is the code of the anchor?")
    await asyncio.sleep(0.2)


async def send_huge_bodies(url: str, key: str) -> None:
    """Send a question of five megabytes."""
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        await http.post("/ask", json={"question": "x" * 5_000_000})
    await asyncio.sleep(0.5)


async def upload_bombs(url: str, key: str) -> None:
    """Upload 20 KB that unpack to twenty megabytes of text."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.txt", b"The same line again.\n" * 1_000_000)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
        await http.post("/documents", files={"files": ("bomb.zip", buffer.getvalue())})
    await asyncio.sleep(5)


def state(pid: int) -> dict[str, int]:
    """Return the memory (MiB), threads and open files of a process."""
    status_text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    rss = int(re.search(r"VmRSS:\s+(\d+)", status_text)[1]) // 1024  # type: ignore[index]
    threads = int(re.search(r"Threads:\s+(\d+)", status_text)[1])  # type: ignore[index]
    return {"rss": rss, "threads": threads, "files": len(list(Path(f"/proc/{pid}/fd").iterdir()))}


async def watch(pid: int, until: float, seen: list[dict[str, int]]) -> None:
    """Record the state of a process every few seconds."""
    while time.monotonic() < until:
        seen.append(state(pid))
        await asyncio.sleep(min(5, SECONDS / 10))


def measure_alone(pipeline: Pipeline, seconds: float) -> list[float]:
    """Return the latencies of the same questions in one process, one after another."""
    latencies = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for subject in SUBJECTS:
            started = time.perf_counter()
            pipeline.ask(f"What is the code of the {subject}?")
            latencies.append(time.perf_counter() - started)
    return latencies


def main() -> None:
    """Run the benchmark and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        index = work / "index"
        with Pipeline(index=index) as pipeline:
            for tenant in range(TENANTS):
                write_documents(work / f"docs{tenant}", tenant)
                with pipeline.with_namespace(f"t{tenant}") as own:
                    own.ingest(work / f"docs{tenant}")
            with pipeline.with_namespace("t0") as own:
                floor = measure_alone(own, min(10, SECONDS / 4))
        keys = KeyStore(index / "keys.sqlite")
        operator = keys.add("operator")
        secrets = [keys.add(f"k{tenant}", f"t{tenant}") for tenant in range(TENANTS)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(Path(sys.executable).with_name("rag")), "serve", "--index", str(index)]
        command += ["--port", str(port), "--rate", "1000000", *sys.argv[1:]]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    httpx.get(f"{url}/healthz").raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            seen: list[dict[str, int]] = []
            enemy = keys.add("enemy", "enemy")

            async def run(hostile: int) -> Tally:
                tally, until = Tally(), time.monotonic() + SECONDS
                clients = [
                    client(url, secrets[i % TENANTS], i % TENANTS, i, until, tally)
                    for i in range(CLIENTS - HOSTILE)
                ]
                clients += [attack(url, enemy, i, until) for i in range(hostile)]
                await asyncio.gather(watch(server.pid, until, seen), *clients)
                return tally

            tally = asyncio.run(run(0))
            states_before_attack = len(seen)
            attacked = asyncio.run(run(HOSTILE)) if HOSTILE else None
            time.sleep(2)
            after = state(server.pid)
            metrics_text = httpx.get(
                f"{url}/metrics", headers={"Authorization": f"Bearer {operator}"}
            ).text
        finally:
            signalled = time.monotonic()
            server.send_signal(signal.SIGTERM)
            code_of_server = server.wait(60)
            end_seconds = time.monotonic() - signalled
    if attacked is not None:
        quiet_p95, p95 = (statistics.quantiles(t.seconds, n=100)[94] for t in (tally, attacked))
        print(f"with {HOSTILE} hostile of {CLIENTS} clients: p95 {p95 * 1000:.0f} ms, without them")
        print(f"{quiet_p95 * 1000:.0f} ms: {p95 / quiet_p95:.2f} times; errors of the others")
        print(f"{len(attacked.errors)}; SIGTERM took {end_seconds:.1f} s")
        last_half = seen[(states_before_attack + len(seen)) // 2 :]
        print(f"memory in the last half: {last_half[0]['rss']} to {last_half[-1]['rss']} MiB\n")
        for error in sorted(set(attacked.errors))[:5]:
            print("  ", error)
    report(tally, seen, after, metrics_text, floor, code_of_server)


def report(
    tally: Tally,
    seen: list[dict[str, int]],
    after: dict[str, int],
    told: str,
    floor: list[float],
    ended: int,
) -> None:
    """Print the results."""
    cut = statistics.quantiles(tally.seconds, n=100)
    alone_cut = statistics.quantiles(floor, n=100)
    rate, alone_rate = len(tally.seconds) / SECONDS, 1 / statistics.fmean(floor)
    half = seen[len(seen) // 3 :]
    print(f"{len(tally.seconds):,} answers in {SECONDS:.0f} s, {tally.hangups:,} hang-ups")
    print(f"errors {len(tally.errors)}, answers with another tenant's words {tally.wrong}")
    for error in sorted(set(tally.errors))[:5]:
        print("  ", error)
    print(f"p50 {cut[49] * 1000:.0f} ms, p95 {cut[94] * 1000:.0f} ms, p99 {cut[98] * 1000:.0f} ms")
    print(f"alone: p50 {alone_cut[49] * 1000:.1f} ms, p95 {alone_cut[94] * 1000:.1f} ms")
    print(f"answers a second: {rate:.1f} served, {alone_rate:.1f} alone: {rate / alone_rate:.2f}")
    print("memory (MiB): " + " ".join(str(state["rss"]) for state in seen))
    print(f"from a third of the time to the end: {half[0]['rss']} to {half[-1]['rss']} MiB")
    max_threads = max(state["threads"] for state in seen)
    print(f"threads {seen[0]['threads']} at first, {after['threads']} after, {max_threads} at most")
    print(f"open files {seen[0]['files']} at first, {after['files']} after")
    running = re.search(r"^citewell_running (\S+)", told, re.M)
    waiting = re.search(r"^citewell_waiting (\S+)", told, re.M)
    print(f"running {running and running[1]}, waiting {waiting and waiting[1]}, exit code {ended}")


if __name__ == "__main__":
    main()

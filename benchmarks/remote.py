"""Small objects over a long way, one by one and in threads: `python benchmarks/remote.py [--count 600] [--trip 30] [--threads 32]`.

A server of the tests runs in a process of its own, behind a proxy in another that holds back what goes through it for half of a round trip in each
direction. Uploaded, looked at, and downloaded are files of 10 KB, by the store for Google Cloud Storage as duct uses it. Nothing here is a test:
figures of another machine, or of a busy one, are other figures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from miniduct.stores.gcs.settings import GcsSettings
from miniduct.stores.gcs.store import GcsStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
SERVER = os.path.join(HERE, "..", "tests", "gcs_server.py")
SIZE = 10_000
ONE_BY_ONE = 40
"""Files that are enough to tell what one costs."""


async def proxy(port: int, delay: float) -> None:
    """Forward connections to a local port; what is said in either direction arrives `delay` seconds later."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    writer.close()
                    return
                writer.write(data)

        delivering = asyncio.create_task(deliver())
        try:
            while data := await reader.read(1 << 16):
                queue.put_nowait((time.monotonic() + delay, data))
        except ConnectionError:
            pass
        queue.put_nowait((time.monotonic() + delay, b""))
        await delivering

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(forward(reader, there_writer), forward(there_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        os._exit(0)  # connections may be open, and to end them one by one is of no use


@contextmanager
def running(*command: str) -> Iterator[str]:
    """A program that serves until its input ends; what it says first."""
    with subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate()


def rate(act: Callable[[int], object], numbers: Sequence[int], threads: int) -> float:
    """How many a second."""
    began = time.perf_counter()
    if threads == 1:
        for number in numbers:
            act(number)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(act, numbers))
    return len(numbers) / (time.perf_counter() - began)


def measure(url: str, folder: str, count: int, threads: int) -> None:
    store = GcsStore(GcsSettings(endpoint=url, threads=threads))
    key = "gs://bench/{}/{:06d}".format
    for number in range(count):
        with open(os.path.join(folder, str(number)), "wb") as file:
            file.write(os.urandom(SIZE))
    store.stat(key("none", 0))
    print("| files of 10 KB | one by one, a second | in threads, a second |\n|---|---:|---:|")
    few, all_of_them = range(min(ONE_BY_ONE, count)), range(count)

    def upload(into: str) -> Callable[[int], object]:
        return lambda number: store.publish(os.path.join(folder, str(number)), key(into, number), None, {})

    print(f"| upload | {rate(upload('a'), few, 1):.0f} | {rate(upload('b'), all_of_them, threads):.0f} |", flush=True)
    stamps = [item.stamp for item in store.stats([key("b", number) for number in all_of_them]) if item]
    assert len(stamps) == count

    def download(number: int) -> None:
        store.fetch(key("b", number), stamps[number], os.path.join(folder, f"{number}.new"))

    print(f"| download | {rate(download, few, 1):.0f} | {rate(download, all_of_them, threads):.0f} |")
    for number in all_of_them:
        with (
            open(os.path.join(folder, str(number)), "rb") as one,
            open(os.path.join(folder, f"{number}.new"), "rb") as two,
        ):
            assert one.read() == two.read()
    looked_at = rate(lambda number: store.stat(key("b", number)), few, 1)
    began = time.perf_counter()
    store.stats([key("b", number) for number in all_of_them])
    print(f"| look at | {looked_at:.0f} | {count / (time.perf_counter() - began):.0f} |")
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=600, help="files")
    parser.add_argument("--trip", type=float, default=30.0, help="a round trip, in ms")
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--proxy", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.proxy:
        asyncio.run(proxy(options.proxy, options.trip / 2000))
        return
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{system}; round trip {options.trip:g} ms, {options.threads} threads\n")
    with running(SERVER, "bench") as url, tempfile.TemporaryDirectory() as folder:
        port = url.rpartition(":")[2]
        with running(__file__, "--proxy", port, "--trip", str(options.trip)) as door:
            measure(f"http://127.0.0.1:{door}", folder, options.count, options.threads)


if __name__ == "__main__":
    main()

"""Run the example against servers on this machine: `python examples/daily/run.py`.

A web server shows the folder `site`, the server of the tests has the bucket, and duct builds in a temporary copy of this folder: everything; nothing;
what depends on one day that was corrected; and, on another machine, what that machine does not have, but not the report that is already published.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tests"))

from gcs_server import GcsServer  # noqa: E402


class Quiet(SimpleHTTPRequestHandler):
    """The files of a folder, without a line for each request."""

    def log_message(self, *_: object) -> None:
        pass


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, GcsServer("reports") as buckets:
        site = os.path.join(folder, "site")
        shutil.copytree(os.path.join(HERE, "site"), site)
        web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
        threading.Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_address[1]}"
        environ = {**os.environ, "STORAGE_EMULATOR_HOST": buckets.url, "NO_PROXY": "127.0.0.1"}

        def build(machine: str, what: str) -> int:
            project = os.path.join(folder, machine)
            if not os.path.isdir(project):
                shutil.copytree(HERE, project, ignore=shutil.ignore_patterns("site", "run.py", "__pycache__"))
            print(f"\n# {what}", file=sys.stderr)
            command = [os.path.join(os.path.dirname(sys.executable), "duct"), "build", "--set", f"site={address}"]
            return subprocess.run(command, cwd=project, env=environ, check=False).returncode

        codes = [build("one", "everything"), build("one", "nothing to do")]
        day = os.path.join(site, "2026-01-03.csv")
        with open(day, "a", encoding="utf-8") as file:
            file.write("hill,21,-3.5\n")
        codes += [build("one", "one day was corrected"), build("two", "another machine, without any state")]
        published = buckets.get("reports", "weather/report.txt")
        web.shutdown()
        web.server_close()
        if published is not None:
            print("\n# gs://reports/weather/report.txt", file=sys.stderr)
            print(published.data.decode(), end="")
        return max(codes)


if __name__ == "__main__":
    sys.exit(main())

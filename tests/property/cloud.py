"""A sandbox of which a part is in a bucket: keys that begin with `gs://b/` are objects of a server, all others files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import Sandbox

if TYPE_CHECKING:
    from gcs_server import GcsServer

BUCKET = "b"
FAR = f"gs://{BUCKET}/"


class CloudSandbox(Sandbox):
    """What a user does to a file, somebody does to an object as far as that is possible."""

    def __init__(self, home: str, server: GcsServer) -> None:
        super().__init__(home)
        self.server = server
        self.env |= {"STORAGE_EMULATOR_HOST": server.url, "NO_PROXY": "127.0.0.1"}

    def write(self, name: str, content: str | bytes = "") -> str:
        if not name.startswith(FAR):
            return super().write(name, content)
        self.server.put(BUCKET, name.removeprefix(FAR), content)
        return name

    def read(self, name: str) -> str:
        if not name.startswith(FAR):
            return super().read(name)
        found = self.server.get(BUCKET, name.removeprefix(FAR))
        assert found is not None
        return found.data.decode()

    def remove(self, name: str) -> None:
        if name.startswith(FAR):
            self.server.drop(BUCKET, name.removeprefix(FAR))
        else:
            super().remove(name)

    def rename(self, old: str, new: str) -> None:
        if old.startswith(FAR) or new.startswith(FAR):
            self.write(new, self.read(old))
            self.remove(old)
        else:
            super().rename(old, new)

    def touch(self, name: str) -> None:
        """Of an object: write its metadata again."""
        if name.startswith(FAR):
            found = self.server.get(BUCKET, name.removeprefix(FAR))
            assert found is not None
            self.server.patch(BUCKET, found.name, found.metadata)
        else:
            super().touch(name)

    def write_older(self, name: str, content: str) -> None:
        if name.startswith(FAR):
            self.write(name, content)
        else:
            super().write_older(name, content)

    def write_behind_the_stamp(self, name: str, content: str) -> None:
        if name.startswith(FAR):
            self.write(name, content)
        else:
            super().write_behind_the_stamp(name, content)

    def tree(self, under: str = "") -> dict[str, bytes]:
        objects = self.server.buckets[BUCKET].objects.values()
        return {**super().tree(under), **{FAR + each.name: each.data for each in objects}}

    def state(self) -> dict[str, tuple[int, int, int, int]]:
        objects = self.server.buckets[BUCKET].objects.values()
        far = {FAR + each.name: (len(each.data), each.generation, each.metageneration, 0) for each in objects}
        return {**super().state(), **far}

"""Google Cloud Storage and the web for use in your own steps, as calls. Made with the settings of a Ductfile's `[stores]`.

Errors are StoreError, with the reason and the next move; what may pass is tried again before that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import StoreError
from ..model import Project
from ..remotes import stores_of
from .checking import Checker
from .steps import place_of_call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from ..stores.routed import Stores


class _Client:
    """A store that is connected when it is first asked."""

    def __init__(self, store: str, settings: dict[str, Any]) -> None:
        given = {name: value for name, value in settings.items() if value is not None}
        checker = Checker(type(self).__name__, os.getcwd())
        stores = checker.stores(place_of_call(self), {store: given})
        checker.end()
        project = Project(root=os.getcwd(), files=(), steps=(), stores=stores)
        self._stores: Stores = stores_of(
            project,
            os.environ,
            "",
            offline=False,
            write=False,
            tell=lambda retry: None,  # noqa: ARG005
        )

    def _fetch(self, key: str, path: str | os.PathLike[str]) -> str:
        """Get the content there is now into the file, whole or not at all; the path."""
        place = os.fspath(path)
        self._stores.forget([key])
        stamp = self._stores.stat(key)
        if stamp is None:
            raise StoreError(f"cannot fetch {key}: it is not there")
        folder = os.path.dirname(place)
        if folder:
            os.makedirs(folder, exist_ok=True)
        part = f"{place}.part-{os.getpid()}"
        try:
            self._stores.fetch(key, stamp, part)
            os.replace(part, place)
        finally:
            if os.path.exists(part):
                os.unlink(part)
        return place

    def exists(self, key: str) -> bool:
        """Is there something now?"""
        self._stores.forget([key])
        return self._stores.stat(key) is not None

    def close(self) -> None:
        """Give the connections back."""
        self._stores.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class HttpClient(_Client):
    """Addresses of the web. `headers` and `query` are tables by site, as in `[stores.http]`; `{NAME}` in them is a variable of `secrets`."""

    def __init__(
        self,
        *,
        headers: dict[str, dict[str, str]] | None = None,
        query: dict[str, dict[str, str]] | None = None,
        secrets: str | Sequence[str] = (),
        timeout: float | str | None = None,
    ) -> None:
        super().__init__("http", {"headers": headers, "query": query, "secrets": secrets or None, "timeout": timeout})

    def get(self, url: str, path: str | os.PathLike[str]) -> str:
        """Get the content of an address into a file, whole or not at all; the path. StoreError."""
        return self._fetch(url, path)


class GCSClient(_Client):
    """Google Cloud Storage. `credentials` is the path of a key file; None: the default credentials. `endpoint`: another service of its protocol."""

    def __init__(
        self,
        *,
        project: str | None = None,
        credentials: str | None = None,
        endpoint: str | None = None,
        user_project: dict[str, str] | None = None,
    ) -> None:
        given = {"project": project, "credentials": credentials, "endpoint": endpoint, "user_project": user_project}
        super().__init__("gcs", given)

    def download(self, uri: str, path: str | os.PathLike[str]) -> str:
        """Get an object into a file, whole and checked, or not at all; the path. StoreError."""
        return self._fetch(uri, path)

    def upload(self, path: str | os.PathLike[str], uri: str) -> int:
        """Put a file in the place of what is there now; the new generation. StoreError, also where somebody else writes it meanwhile."""
        self._stores.forget([uri])
        return self._stores.publish(os.fspath(path), uri, self._stores.stat(uri), {}).mtime_ns

    def list(self, prefix: str) -> list[str]:
        """The keys that begin with the prefix, sorted. StoreError."""
        self._stores.forget([])
        return sorted(self._stores.matches(prefix, deep=True))

"""What can happen between here and a host, as `requests` tells it; and how not to wait for ever. Shared by the stores that speak HTTP."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import weakref
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import requests.adapters
import urllib3
import urllib3.connection
import urllib3.exceptions

from .refusals import Case, Fault, message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Answer = TypeVar("Answer")


class Connections(requests.adapters.HTTPAdapter):
    """Connections for so many threads. `break_off` ends those that are in use, too: what waits for an answer gets an error at once."""

    def __init__(self, most: int) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        super().__init__(pool_maxsize=most)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._kinds()

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._kinds()
        return manager

    def _kinds(self) -> dict[str, type]:
        """The library's pools, of connections that are noted when they are made."""
        connections = self

        class Plain(urllib3.connection.HTTPConnection):
            def connect(self) -> None:
                super().connect()
                connections.note(self.sock)

        class Encrypted(urllib3.connection.HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                connections.note(self.sock)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Encrypted

        return {"http": PlainPool, "https": EncryptedPool}

    def note(self, connected: socket.socket | None) -> None:
        """A connection was made."""
        if connected is not None:
            with self._lock:
                self._sockets.add(connected)

    def break_off(self) -> None:
        """End all connections, whoever uses them."""
        with self._lock:
            for connected in list(self._sockets):
                with contextlib.suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
        self.close()


def in_time(seconds: float, call: Callable[[], Answer]) -> Answer:
    """The call's result; TimeoutError where it takes longer, and it is then left alone.

    For the first contact with a host: the look for its address has no time-out of its own, and without a network can take minutes.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError
    return answers[0]


def asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `Retry-After`: a number, or a date."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, IndexError):
        return None


def unanswered(error: BaseException, host: str) -> Fault | None:
    """The faults between here and the host, as `requests` and the system tell them."""
    where = {"where": host}
    # Two of these are kinds of the third.
    if isinstance(error, requests.exceptions.SSLError):
        return Fault(Case.CERTIFICATE, {**where, "message": message(_innermost(error))})
    if isinstance(error, requests.exceptions.ProxyError):
        return Fault(Case.PROXY, where)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Fault(Case.UNREACHABLE, {**where, "message": "no connection in time"}, again=True, unreachable=True)
    if isinstance(error, requests.exceptions.Timeout):
        return Fault(Case.SILENT, where, again=True)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return Fault(Case.BROKEN_OFF, where, again=True)
    if isinstance(error, requests.exceptions.ConnectionError):
        text = str(error)
        if "Read timed out" in text:
            return Fault(Case.SILENT, where, again=True)
        if "NewConnectionError" in text or "NameResolutionError" in text or "Failed to" in text:
            return Fault(Case.UNREACHABLE, {**where, "message": _network_reason(error)}, again=True, unreachable=True)
        return Fault(Case.BROKEN_OFF, where, again=True)
    if isinstance(error, ConnectionError):
        return Fault(Case.BROKEN_OFF, where, again=True)
    # What comes in from the connection directly tells its breaks in words of its own.
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return Fault(Case.SILENT, where, again=True)
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return Fault(Case.BROKEN_OFF, where, again=True)
    if isinstance(error, (requests.exceptions.RequestException, urllib3.exceptions.HTTPError)):
        return Fault(Case.OTHER, {**where, "status": "badly", "message": type(error).__name__})
    return None


def _innermost(error: BaseException) -> str:
    """The library's reason, without addresses: the last of the exceptions that hold each other as their argument."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in error.args if isinstance(part, BaseException)), None)
        if inner is None:
            return str(error.args[-1]) if error.args else type(error).__name__
        error = inner


def _network_reason(error: BaseException) -> str:
    """`connection refused`, `name or service not known`."""
    found = re.search(r"\[Errno -?\d+\] ([^')\"]+)", str(error))
    return message(found[1][:1].lower() + found[1][1:]) if found else "no connection"

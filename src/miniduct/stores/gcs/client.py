"""The client of Google Cloud Storage, set up for many threads; and what its errors mean. The only module that looks into that library's corners."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import google.auth
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage import exceptions as media

from ...keys import host_of
from ..network import Connections, asked_for, unanswered
from ..refusals import Case, Fault, message

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from .settings import GcsSettings

SERVICE = "storage.googleapis.com"
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
BUSY = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"})
RETAINED = frozenset({"retentionPolicyNotMet", "objectUnderActiveHold"})
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

PERMISSIONS = {
    "list": "storage.objects.list",
    "look at": "storage.objects.get",
    "fetch": "storage.objects.get",
    "publish": "storage.objects.create and storage.objects.delete",
    "copy": "storage.objects.create and storage.objects.delete",
    "remove": "storage.objects.delete",
}
"""What an operation needs, where the service does not say which right is missing."""


def connect(settings: GcsSettings) -> tuple[Any, Connections]:
    """A client for all threads, and its connections. Raises what Google's libraries raise, where there are no credentials."""
    options: dict[str, str] = {}
    if settings.endpoint is not None:
        options["api_endpoint"] = settings.endpoint.rstrip("/")
    client = storage.Client(
        # The project is needed to make buckets only; asking the machine for it can take seconds.
        project=settings.project or "none",
        credentials=_credentials(settings),
        client_options=options,
        use_auth_w_custom_endpoint=False,
    )
    # Otherwise a thread asks for the bucket itself at the first operation, which needs a right that nobody has to have.
    client._bucket_metadata_cache = None
    session = client._http
    # A transfer, a look-up and the caller's own thread may be under way for each of the threads.
    connections = Connections(2 * settings.threads + 1)
    for scheme in ("http://",) if session.is_mtls else ("http://", "https://"):
        session.mount(scheme, connections)
    # With any authentication of its own, a session does not look into ~/.netrc, whose entry would take the place of the token.
    session.auth = _as_it_is
    return client, connections


def _credentials(settings: GcsSettings) -> Credentials | None:
    if settings.credentials is None:
        return None
    with warnings.catch_warnings():
        # That the file may be of any kind, also one that has others ask for the token: the user chose it.
        warnings.simplefilter("ignore", DeprecationWarning)
        found, _ = google.auth.load_credentials_from_file(settings.credentials, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    return found  # type: ignore[no-any-return]


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def understood(error: Exception, verb: str, bucket: str, settings: GcsSettings) -> Fault | None:
    """What an error of the libraries means; None for one that is none of theirs."""
    host = host_of(settings.endpoint) if settings.endpoint else SERVICE
    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        fault = understood(error.cause, verb, bucket, settings)
        return None if fault is None else fault._replace(again=False)
    if isinstance(error, api.GoogleAPICallError):
        return _answered(int(error.code or 0), error.response, str(error.message), verb, bucket, host)
    if isinstance(error, auth.GoogleAuthError):
        return _not_authorised(error, host)
    if isinstance(error, media.InvalidResponse):
        return _answered(error.response.status_code, error.response, "", verb, bucket, host)
    if isinstance(error, media.DataCorruption):
        return Fault(Case.WRONG_BYTES, {"where": host, "message": "the checksum differs"}, again=True)
    return unanswered(error, host)


def _answered(status: int, response: Any, text: str, verb: str, bucket: str, host: str) -> Fault:
    """From the status and, where there is one, the reason inside the answer."""
    text, reasons = _own_words(response, text)
    facts = {"where": host, "status": str(status), "message": text, "permission": "", "who": ""}
    of_bucket = {**facts, "where": bucket}
    if status == 429 or reasons & BUSY:
        return Fault(
            Case.QUOTA,
            facts,
            again=not reasons & {"dailyLimitExceeded"},
            after=None if response is None else asked_for(response.headers),
        )
    if status == 410 and verb == "publish":
        return Fault(Case.UNAVAILABLE, facts, again=True, anew=True)
    if status in AGAIN:
        return Fault(
            Case.UNAVAILABLE, facts, again=True, after=None if response is None else asked_for(response.headers)
        )
    if status == 401:
        return Fault(Case.NOT_ACCEPTED, facts)
    if status == 403:
        if reasons & RETAINED or "retention policy" in text:
            return Fault(Case.RETAINED, of_bucket)
        if re.search("access|permission", text, re.IGNORECASE):
            return Fault(Case.DENIED, {**of_bucket, **_right(text, verb)})
    if status == 404 and "bucket does not exist" in text and not text.startswith("No such object"):
        return Fault(Case.NO_BUCKET, of_bucket)
    if status == 404:
        return Fault(Case.NO_OBJECT, facts)
    if status == 400 and "requester pays" in text.lower():
        return Fault(Case.REQUESTER_PAYS, of_bucket)
    if status == 400 and re.search(r"crc32c|md5|checksum|does not match", text):
        return Fault(Case.WRONG_BYTES, facts, again=True, anew=True)
    if status == 400 and "bucket name" in text.lower():
        return Fault(Case.BAD_KEY, {**facts, "message": f"{bucket} cannot be the name of a bucket"})
    return Fault(Case.OTHER, facts)


def _own_words(response: Any, text: str) -> tuple[str, set[str]]:
    """The service's message, without what the library puts around it, and the reasons that it names for programs."""
    if response is None:
        return message(text), set()
    try:
        error = response.json()["error"]
        return message(error["message"]), {str(part.get("reason")) for part in error.get("errors", ())}
    except (requests.exceptions.RequestException, ValueError, TypeError, KeyError, AttributeError):
        return message(response.text), set()


def _right(text: str, verb: str) -> dict[str, str]:
    named = re.search(r"\b(storage\.[a-zA-Z]+\.[a-zA-Z]+)\b", text)
    who = re.match(r"(\S+@\S+) does not have", text)
    return {
        "permission": named[1] if named else PERMISSIONS[verb],
        "who": f" for {who[1]}" if who else "",
    }


def _not_authorised(error: Exception, host: str) -> Fault:
    if isinstance(error, auth.DefaultCredentialsError) and "were not found" in str(error):
        return Fault(Case.NO_CREDENTIALS, {"where": host})
    if isinstance(error, auth.TransportError):
        inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error.__cause__
        fault = unanswered(inner, "the service for credentials") if inner is not None else None
        if fault is not None:
            return fault
        facts = {"where": "the service for credentials", "message": message(str(error))}
        return Fault(Case.UNREACHABLE, facts, again=True, unreachable=True)
    if isinstance(error, auth.InvalidOperation):
        # The service said 401 to one who has nothing to show.
        return Fault(Case.NO_CREDENTIALS, {"where": host})
    facts = {"where": host, "message": message(str(error.args[0] if error.args else error))}
    return Fault(Case.BAD_CREDENTIALS, facts, again=bool(getattr(error, "retryable", False)))

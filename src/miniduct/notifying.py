"""Notifications of how a build ended: a webhook, a command, a Python callable, an apprise URL. A failing one is told, and fails nothing.

There are three occasions: "success", "failure", and "recovery", the first success after a failure. What may be secret (a
webhook's path, the values of secret variables) is never told on.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from . import events as ev
from .text import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .events import Event, Reporter
    from .model import Project

    Target = str | Sequence[str] | Callable[[Mapping[str, Any]], Any]

OCCASIONS = ("success", "failure", "recovery")
SECONDS = 10.0
"""What a notification may take."""
MOST_NAMED = 10
WEB = ("http://", "https://")
_VARIABLE = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def checked(notify: Any) -> dict[str, list[Target]]:
    """The targets by occasion. One target, or a list of them, is meant for failure and recovery. TypeError, ValueError."""
    if notify is None:
        return {}
    if not isinstance(notify, dict):
        notify = dict.fromkeys(("failure", "recovery"), notify)
    found: dict[str, list[Target]] = {}
    for occasion, targets in notify.items():
        if occasion not in OCCASIONS:
            raise ValueError(f'notify knows {", ".join(OCCASIONS)}, not "{occasion}"')
        listed = list(targets) if isinstance(targets, list) else [targets]
        for target in listed:
            words = isinstance(target, tuple) and target and all(isinstance(word, str) for word in target)
            if not (callable(target) or words or (isinstance(target, str) and _SCHEME.match(target))):
                raise TypeError(
                    "notify takes a URL, a tuple of words (a command), or a callable; several of them in a list"
                )
        found[occasion] = listed
    return found


def target_of(text: str) -> Target:
    """What a text means as a target: a URL, or a command for the shell."""
    return text if _SCHEME.match(text) else ("sh", "-c", text)


def for_project(project: Project, reporter: Reporter, state: str, environ: Mapping[str, str]) -> Reporter:
    """The reporter, with the notifications that a Ductfile asks for. A target that names a variable that is not set is told when it is due."""
    if not project.notify:
        return reporter
    secret = [environ.get(name, "") for step in project.steps for name in step.secrets]
    notify: dict[str, list[Target]] = {}
    for occasion, texts in project.notify.items():
        notify[occasion] = []
        for text in texts:
            named = _VARIABLE.findall(text)
            secret += [environ.get(name, "") for name in named]
            full = _VARIABLE.sub(lambda found: environ.get(found[1], found[0]), text)
            notify[occasion].append(target_of(full))
    return Notifier(reporter, os.path.basename(project.root), notify, f"{state}/outcome", secret)


class Notifier:
    """A reporter that hands everything on, and sends the notifications when the build has ended.

    `state` is the file that keeps how the last build ended; `masked` are texts that must not be told on.
    """

    def __init__(
        self, inner: Reporter, name: str, notify: Mapping[str, Sequence[Target]], state: str, masked: Iterable[str] = ()
    ) -> None:
        self._inner = inner
        self._name = name
        self._notify = notify
        self._state = state
        self._masked = sorted({text for text in masked if text}, key=len, reverse=True)
        self._failed: list[str] = []
        self._run = 0

    def tell(self, event: Event) -> None:
        if isinstance(event, ev.BuildStarted):
            self._run = event.run
        elif isinstance(event, ev.JobEnded) and event.status == "failed":
            self._failed.append(f"{event.job}: {event.error}")
        self._inner.tell(event)
        if isinstance(event, ev.BuildEnded) and not event.dry_run and not event.interrupted:
            self._ended(event)

    def tick(self) -> None:
        self._inner.tick()

    def close(self) -> None:
        self._inner.close()

    def _ended(self, event: ev.BuildEnded) -> None:
        failed = bool(event.failed)
        before = self._last()
        if failed:
            occasion = "failure"
        elif before == "failure":
            occasion = "recovery"
        else:
            occasion = "success"
        self._keep("failure" if failed else "success")
        targets = list(self._notify.get(occasion, ()))
        if occasion == "recovery":
            targets += [target for target in self._notify.get("success", ()) if target not in targets]
        message = self._message(occasion, event) if targets else {}
        for target in targets:
            try:
                send(target, message)
            except (Exception, SystemExit) as error:  # whatever a server, a command or somebody's function does
                why = self._mask(str(error).partition("\n")[0]) or type(error).__name__
                self._inner.tell(ev.Warned(f"a notification failed: {_shown(target)}: {why}"))

    def _message(self, occasion: str, event: ev.BuildEnded) -> dict[str, Any]:
        head = {"success": "is up to date", "failure": "failed", "recovery": "is well again"}[occasion]
        lines = [self._mask(line) for line in self._failed[:MOST_NAMED]]
        sums = f"{count(event.ran, 'job')} ran, {event.failed} failed, {event.skipped} skipped"
        return {
            "text": "\n".join([f"{self._name} {head}: {sums} ({event.seconds:.1f} s)", *lines]),
            "name": self._name,
            "occasion": occasion,
            "run": self._run,
            "failed": lines,
        }

    def _mask(self, text: str) -> str:
        for secret in self._masked:
            text = text.replace(secret, "***")
        for targets in self._notify.values():
            for target in targets:
                if isinstance(target, str):
                    _, _, rest = target.partition("://")
                    host, slash, path = rest.partition("/")
                    secret = host.rpartition("@")[0] if target.startswith(WEB) else rest
                    for part in (target, secret, slash + path, (slash + path).partition("?")[0]):
                        if len(part) > 1:
                            text = text.replace(part, "/***")
        return text

    def _last(self) -> str:
        try:
            with open(self._state, encoding="ascii") as file:
                return file.read()
        except OSError:
            return ""

    def _keep(self, outcome: str) -> None:
        try:
            with open(self._state, "w", encoding="ascii") as file:
                file.write(outcome)
        except OSError:
            return  # the next notification of a recovery may be missing


def _shown(target: Target) -> str:
    if isinstance(target, str):
        scheme, _, rest = target.partition("://")
        host = rest.partition("/")[0].rpartition("@")[2] if target.startswith(WEB) else ""
        return f"{scheme}://{host or '***'}"
    if callable(target):
        return f"{getattr(target, '__qualname__', type(target).__qualname__)}()"
    return target[0]


def send(target: Target, message: Mapping[str, Any]) -> None:
    """Send one notification; raises what goes wrong.

    A webhook gets a JSON object with `text`, as Slack's and Teams' incoming hooks take it; a command the whole message on its
    standard input; a callable the message.
    """
    import json
    import subprocess

    if callable(target):
        target(message)
    elif not isinstance(target, str):
        done = subprocess.run(
            list(target),
            input=json.dumps(message).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "DUCT_OCCASION": message["occasion"]},
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"exit code {done.returncode}{f': {said}' if said else ''}")
    elif target.startswith(WEB):
        import requests

        requests.post(target, json={"text": message["text"]}, timeout=SECONDS).raise_for_status()
    else:
        _apprise(target, message["text"])


def _apprise(target: str, text: str) -> None:
    import logging

    try:
        import apprise
    except ImportError:
        raise RuntimeError("it needs apprise: pip install 'miniduct[notify]'") from None
    log = logging.getLogger("apprise")  # it would tell addresses with their secrets
    disabled, log.disabled = log.disabled, True
    try:
        sender = apprise.Apprise()
        if not sender.add(target) or not sender.notify(body=text):
            raise RuntimeError("apprise could not send it")
    finally:
        log.disabled = disabled

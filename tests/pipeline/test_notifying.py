"""Notifications: on failure, on recovery, on success; a failing one is told and fails nothing; secrets stay secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from miniduct import PipelineBuilder, PythonStep
from miniduct import events as ev

if TYPE_CHECKING:
    import pathlib

    from pytest_httpserver import HTTPServer


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(notify: Any, *, good: bool, secrets: tuple[str, ...] = (), text: str = "no") -> list[ev.Event]:
    def work() -> int:
        if not good:
            raise ValueError(text)
        return 1

    told: list[ev.Event] = []
    builder = PipelineBuilder("demo", notify=notify)
    builder.add_step(PythonStep(work, secrets=secrets))
    builder.execute(raise_on_error=False, on_event=told.append)
    return told


def test_a_callable_is_told_of_failure_and_recovery_and_not_of_success() -> None:
    told: list[str] = []

    def tell(message: Any) -> None:
        told.append(message["occasion"])

    for good in (True, False, False, True, True):
        run(tell, good=good)
    assert told == ["failure", "failure", "recovery"]


def test_success_is_told_where_it_is_asked_for() -> None:
    told: list[str] = []
    run({"success": lambda message: told.append(message["text"])}, good=True)
    assert len(told) == 1
    assert told[0].startswith("demo is up to date: 1 job ran, 0 failed")


def test_a_webhook_gets_a_json_text(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hook", method="POST").respond_with_data("ok")
    told = run(httpserver.url_for("/hook"), good=False)
    (request, _) = httpserver.log[0]
    body = json.loads(request.data)
    assert list(body) == ["text"]
    assert "work: raised ValueError: no" in body["text"]
    assert not [each for each in told if isinstance(each, ev.Warned)]


def test_a_failing_webhook_is_told_without_its_path_and_fails_nothing(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/services/SECRET").respond_with_data("no", status=500)
    told = run({"success": httpserver.url_for("/services/SECRET")}, good=True)
    (warned,) = [each for each in told if isinstance(each, ev.Warned)]
    assert warned.text.startswith(f"a notification failed: http://localhost:{httpserver.port}: 500")
    assert "SECRET" not in warned.text


def test_a_command_gets_the_message(tmp_path: pathlib.Path) -> None:
    run(("sh", "-c", 'cat > message; echo "$DUCT_OCCASION" > occasion'), good=False)
    assert json.loads((tmp_path / "message").read_text())["failed"] == ["work: raised ValueError: no"]
    assert (tmp_path / "occasion").read_text() == "failure\n"


def test_a_failing_command_is_told() -> None:
    (warned,) = [each for each in run(("sh", "-c", "echo why >&2; exit 3"), good=False) if isinstance(each, ev.Warned)]
    assert warned.text == "a notification failed: sh: exit code 3: why"


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t")
    told: list[str] = []
    run(lambda message: told.append(str(message)), good=False, secrets=("TOKEN",), text="token s3cr3t refused")
    assert len(told) == 1
    assert "s3cr3t" not in told[0]
    assert "token *** refused" in told[0]


@pytest.mark.parametrize("notify", [1, "no-url", [None], {"never": "https://a"}])
def test_what_is_no_target_is_refused_at_once(notify: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="notify"):
        PipelineBuilder("demo", notify=notify)


@pytest.mark.parametrize(
    "target",
    ["json://[::bad/x", "http://[::1/x", "pbul://hiddenkey", "slack://hiddenkey/hiddenpath", "po://u@hiddenkey"],
)
def test_an_address_of_any_kind_fails_nothing_and_shows_no_secret(target: str) -> None:
    told = run({"success": target}, good=True)
    (warned,) = [event for event in told if isinstance(event, ev.Warned)]
    assert warned.text.startswith("a notification failed: ")
    assert "hidden" not in str(warned)


def test_a_callable_that_exits_fails_nothing() -> None:
    def leave(message: Any) -> None:  # noqa: ARG001
        raise SystemExit(3)

    assert isinstance(run({"success": leave}, good=True)[-1], ev.Warned)

"""`notify` in a Ductfile: who is told, of what, and that nothing depends on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_httpserver import HTTPServer

    from support import Sandbox

STEP = """
[step.work]
inputs = "a"
targets = "b"
secrets = "TOKEN"
run = "test ! -e broken; cp {input} {target}"
"""


def test_a_command_is_told_of_a_failure_and_of_the_recovery_only(box: Sandbox) -> None:
    box.files({"a": "1", "broken": ""})
    box.ductfile("notify = 'cat >> told; echo $DUCT_OCCASION >> occasions'\n" + STEP)
    box.expect(1)
    box.remove("broken")
    box.build()
    box.write("a", "2")
    box.build()
    assert box.read("occasions").split() == ["failure", "recovery"]
    assert "work: failed with exit code 1" in box.read("told")


def test_a_hook_from_a_variable_gets_a_message_without_secrets(box: Sandbox, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hook/geheim", method="POST").respond_with_data("ok")
    box.files({"a": "1"})
    box.env |= {"HOOK": httpserver.url_for("/hook/geheim"), "TOKEN": "token-value"}
    box.ductfile('[notify]\nsuccess = "{HOOK}"\nfailure = ["{HOOK}", "exit 3"]\n' + STEP)
    box.build()
    ((request, _),) = httpserver.log
    assert "is up to date" in json.loads(request.data)["text"]
    box.files({"broken": "", "a": "2"})
    result = box.expect(1)
    assert "a notification failed" in result.err
    assert "geheim" not in result.err
    assert len(httpserver.log) == 2


@pytest.mark.parametrize(
    ("text", "what"),
    [("notify = 3\n", "must be a text"), ('[notify]\nalways = "x"\n', 'knows no "always"')],
)
def test_a_notify_that_is_none_is_told(box: Sandbox, text: str, what: str) -> None:
    box.ductfile(text + STEP)
    assert what in box.expect(2).err

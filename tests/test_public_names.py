"""What the package offers by name: a change of this list is a change for users."""

from __future__ import annotations

import pytest

import miniduct


def test_public_names() -> None:
    assert miniduct.__all__ == [
        "BaseStep",
        "CopyStep",
        "GCSClient",
        "GCSUploadStep",
        "HttpClient",
        "HttpGetStep",
        "PipelineBuilder",
        "PipelineError",
        "PythonStep",
        "ShellStep",
        "StepResult",
        "step",
    ]


@pytest.mark.parametrize("name", miniduct.__all__)
def test_each_name_can_be_had_and_says_what_it_is(name: str) -> None:
    assert getattr(miniduct, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Pipeline'"):
        _ = miniduct.Pipeline

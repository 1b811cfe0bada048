"""The Python front: steps as objects, `>>` between them, and the builder that turns them into the same project as a Ductfile does.

Nothing is judged, run or recorded here: `builder` hands a `Project` to the engine, `calling` is what the engine calls for a step.
"""

from __future__ import annotations

from .builder import PipelineBuilder
from .clients import GCSClient, HttpClient
from .loading import load
from .results import PipelineError, StepResult
from .steps import BaseStep, CopyStep, GCSUploadStep, HttpGetStep, PythonStep, ShellStep, step

__all__ = [
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
    "load",
    "step",
]

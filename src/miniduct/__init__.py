"""miniduct: the tool `duct`, a file-target incremental build tool for data work.

Kept empty of imports on purpose: `duct` with nothing to do must cost little more than Python itself.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .pipeline import (
        BaseStep,
        CopyStep,
        GCSClient,
        GCSUploadStep,
        HttpClient,
        HttpGetStep,
        PipelineBuilder,
        PipelineError,
        PythonStep,
        ShellStep,
        StepResult,
        step,
    )

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
    "step",
]


def __getattr__(name: str) -> object:
    """The public names are imported when they are first asked for."""
    if name in __all__:
        from . import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

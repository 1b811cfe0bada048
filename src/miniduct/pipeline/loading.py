"""A pipeline from a Python file: the file is run, and what it defines is looked for."""

from __future__ import annotations

import os
import sys

from ..errors import DuctError, UsageError
from . import values
from .builder import PipelineBuilder


def load(path: str) -> PipelineBuilder:
    """The one pipeline that a Python file defines. UsageError where there is none, or more than one, or the file cannot be run."""
    import importlib.util

    from ..runners.worker import Fresh

    path = os.path.abspath(path)
    folder, name = os.path.split(path)
    own = os.path.splitext(name)[0]
    spec = importlib.util.spec_from_file_location(own, path, loader=Fresh(own, path))
    if spec is None or spec.loader is None:
        raise UsageError(f'"{path}" is no Python file')
    module = importlib.util.module_from_spec(spec)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[spec.name] = module
    values.script(own)
    try:
        spec.loader.exec_module(module)
    except DuctError:
        raise
    except Exception as error:
        trace = error.__traceback__
        line = 0
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == path:
                line = trace.tb_lineno
            trace = trace.tb_next
        lines = str(error).partition("\n")[0]
        raise UsageError(
            f"running it raised {type(error).__name__}: {lines}",
            where=f"{name}:{getattr(error, 'lineno', None) or line}",
        ) from error
    found = list({id(value): value for value in vars(module).values() if isinstance(value, PipelineBuilder)}.values())
    if len(found) != 1:
        what = "no pipeline" if not found else f"{len(found)} pipelines: {', '.join(each.name for each in found)}"
        raise UsageError(f'"{name}" defines {what}', hint="the command needs one PipelineBuilder in the module")
    return found[0]

"""The garbage collector of the process, while a pipeline is planned and runs.

Planning makes many objects, and no circles; nearly all of them live as long as the run. So the collector is off meanwhile, and does not look through
them while steps run, nor afterwards as if they were young: with nothing to do, that took a seventh of the time.

What it is kept away from it does not count, either, and circles that runs leave behind would stay for ever in a process that executes pipelines again
and again. So they are counted here: before a run comes a full collection where plannings have made more since the last one than was alive after it.
"""

from __future__ import annotations

import gc

LEAST = 50_000
"""Objects; fewer than these are not worth a full collection."""

_made = 0
"""How many objects plannings have made since the last full collection of this module's."""
_alive = 0
"""How many there were after that."""


class Uncollected:
    """Without the collector until planning is `over`; what there was by then is not looked through until the end.

    A process that has the collector off, or keeps objects away from it by itself (`gc.freeze`), is left as it is.
    """

    def __init__(self) -> None:
        self._on = gc.isenabled()
        self._ours = self._on and not gc.get_freeze_count()
        self._planning = False

    def __enter__(self) -> Uncollected:
        global _made, _alive
        if self._ours and _made > max(_alive, LEAST):
            gc.collect()
            gc.freeze()
            _made, _alive = 0, gc.get_freeze_count()
            gc.unfreeze()
        gc.disable()
        self._planning = True
        return self

    def over(self) -> None:
        """Planning is over; steps run now."""
        global _made
        if not self._planning:
            return
        self._planning = False
        if self._ours:
            _made += gc.get_count()[0]
            gc.freeze()
        if self._on:
            gc.enable()

    def __exit__(self, *_: object) -> None:
        self.over()
        if self._ours:
            gc.unfreeze()

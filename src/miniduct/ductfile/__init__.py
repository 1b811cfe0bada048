"""The Ductfile: TOML text to a `Project`, every value with its line; and all that can be wrong in it, found without a look at the data.

`read` is the way in. `tables` holds the settings, `places` where things stand in the text, `drafts` and `checks` one step, `project` all of them.
"""

from __future__ import annotations

from .project import read
from .tables import schema

__all__ = ["read", "schema"]

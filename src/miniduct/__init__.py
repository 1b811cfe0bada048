"""miniduct: the tool `duct`, a file-target incremental build tool for data work.

Kept empty of imports on purpose: `duct` with nothing to do must cost little more than Python itself.
"""

__version__ = "0.1.0"

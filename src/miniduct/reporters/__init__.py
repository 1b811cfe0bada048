"""Those who tell what happens: `plain` lines, the `live` view of a terminal, `jsonl` for programs. Wording in `words`, drawing in `screen`.

A reporter is told events and refuses to know anything else: no plan, no traces. Jobs' output goes to stdout, duct's own words to stderr.
"""

"""Steps into jobs, in columns; selection, order, definitions."""

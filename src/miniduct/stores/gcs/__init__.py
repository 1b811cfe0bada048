"""Google Cloud Storage: objects as keys, `gs://bucket/name`. Importing this package imports nothing of Google's; its module `store` does."""

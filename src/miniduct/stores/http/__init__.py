"""The web as a store to read from: `https://` addresses as keys. Importing this package imports nothing slow; its module `store` does."""

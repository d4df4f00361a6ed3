"""Which replica of a variant gets a request: the one that holds the KV of its beginning, if that has time for it."""

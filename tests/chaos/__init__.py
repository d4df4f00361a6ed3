"""A whole cluster under load while parts of it are killed, and an independent check of what its callers saw."""

"""Conversations in Redis, so that a caller sends only the new turn and a gateway keeps no state."""

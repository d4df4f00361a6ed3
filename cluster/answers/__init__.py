"""Answers kept in Redis while they run and for a time after, for retries and for streams taken up again."""

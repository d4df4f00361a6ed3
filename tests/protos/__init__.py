"""The public API's own rules, and that its generated code is up to date."""

"""Bring a Compose project down without losing a database: look, plan, prove, ask, and only then remove."""

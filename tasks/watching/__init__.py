"""Noticing at once: what the engine tells and shows of the targets, and what is to be done about it."""

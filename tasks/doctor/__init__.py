"""What would fail tonight, tried now, with the lines to change; and the change itself where it is safe to write."""

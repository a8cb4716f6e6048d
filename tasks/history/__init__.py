"""What Rollcall remembers of every target, and how a new tally is judged by it."""

"""Looking at a target and judging what is seen: what `backup` and `verify` share."""

"""Making a backup: take every database, the globals and the settings; prove what was stored; file it; rotate."""

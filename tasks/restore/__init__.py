"""Putting the right data back: census, plan, rebuild, journalled steps, recover, drill, kept volumes."""

"""Rebuilds the default networks from the packages they come from. See README.md beside this
file."""

"""The power-cut proof (in the making)."""

"""Chains of qcow2 files: check information, strategy, merging (README.md)."""

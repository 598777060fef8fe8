"""Bytes <-> frozen records. Everything here is pure: no files, no clock, no network (DESIGN 6)."""

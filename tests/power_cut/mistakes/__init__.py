"""Mistakes that an engineer might make in the product, made on purpose to test the proof."""

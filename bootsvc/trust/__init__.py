"""Who signed what. Takes bytes, opens nothing (DESIGN 6)."""

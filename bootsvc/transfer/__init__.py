"""How versions come to a machine's running OS; the updater has no part in it."""

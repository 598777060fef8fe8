"""How each action of the console is done: one function for each, called by ``perform``."""

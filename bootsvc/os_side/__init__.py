"""What the running OS knows of its machine: its disk, what it was handed, whom it trusts."""

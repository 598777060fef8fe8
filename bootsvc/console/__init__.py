"""What a person sees on the machine's own console."""

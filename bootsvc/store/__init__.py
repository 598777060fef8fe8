"""The image store: where a publisher's versions lie, and what vouches for their freshness."""

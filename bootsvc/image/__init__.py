"""Makes signed image files (.bimg) of root file systems, and opens them. No part of any start."""

"""From the decision to the running OS: finding the disk, loading a kernel, handing over."""

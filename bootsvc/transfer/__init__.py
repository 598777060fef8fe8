"""An image comes to this machine block by block, from whatever holds its blocks (S0.10, step 1)."""

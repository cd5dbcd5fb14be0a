"""Keys, certificates, sealing, signing, audit hashes, passwords, policy; imports nothing of the project."""

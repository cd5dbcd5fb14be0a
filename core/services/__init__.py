"""What people can ask for. A service authorises the act, does it in one transaction, and writes it to the audit log."""

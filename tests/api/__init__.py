"""Models behind APIs, spoken to by the vendors' own SDKs, through a server of the tests."""

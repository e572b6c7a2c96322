"""The official SDKs against the router and the provider stand-ins."""

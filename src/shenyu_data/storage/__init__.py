"""Where the bytes of a repository lie: one protocol, several implementations."""

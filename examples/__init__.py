"""Programs that use ProxyPatternPool, to be read, run and copied."""

"""How proxies are set, replaced and typed."""

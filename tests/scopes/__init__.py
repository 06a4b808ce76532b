"""Which object a proxy uses, and until when."""

"""Tasks, contexts and ends of event loops."""

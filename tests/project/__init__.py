"""The project's own files: pages, parameters, errors, rules broken on purpose."""

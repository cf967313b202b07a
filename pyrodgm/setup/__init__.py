"""Setting up a run: settings, options, names, classes, objects, and a dry run of them."""

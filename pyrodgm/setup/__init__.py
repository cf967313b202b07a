"""From words to objects: settings, options, names, classes, and a dry run of what was built."""

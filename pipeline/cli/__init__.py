"""The command line: arguments, options and exit statuses; one file a command."""

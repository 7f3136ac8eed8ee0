"""Options of commands: how they are declared, groups that several commands have, and their output."""

"""The command line: each module adds commands, and imports what they need when they run."""

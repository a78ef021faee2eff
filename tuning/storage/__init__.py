"""Where a search lives: database, journal, results folder."""

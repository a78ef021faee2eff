"""What a finished search says: the report page, tables, plots, importances."""

"""Train the seeds of a trial."""

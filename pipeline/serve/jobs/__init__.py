"""What a server works with: a queue of jobs with a journal, an engine, uploads, timelines with a history."""

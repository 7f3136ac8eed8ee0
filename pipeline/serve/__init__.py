"""The server of `avvp serve`: uploads, a queue of jobs, timelines that are corrected in the browser, Label Studio."""

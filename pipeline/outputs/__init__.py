"""Write timelines: formats of other programs, plots, pages, the terminal; post-process and read them back."""

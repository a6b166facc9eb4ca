"""/static: the files of the static directory, and its directories as lists."""

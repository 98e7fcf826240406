"""Moving sample data to and from remotes: a server, a directory or a bucket."""

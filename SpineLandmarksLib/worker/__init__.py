"""A process that keeps a model warm and talks newline JSON: the server, and the client that both screens use."""

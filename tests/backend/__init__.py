"""The local backend, over real sockets."""

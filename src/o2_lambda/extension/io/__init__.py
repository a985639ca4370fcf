"""The thin shell: the only sockets, clocks, threads and file descriptors of the extension."""

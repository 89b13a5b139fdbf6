# Expected: error.
import socket
def operator(plane):
    socket.create_connection(("127.0.0.1", 22), timeout=1)
    return plane

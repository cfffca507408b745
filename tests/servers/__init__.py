"""OAuth servers that this project did not write, behind one interface: `servers.real_server.RealServer`."""

//! What crosses the network: the gRPC listener and client, sessions, the host link.

//! The node agent: pods as OCI containers, their network, probes and logs.

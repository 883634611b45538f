//! `stead up`: namespaces, fabric and supervisor of a whole cluster on one machine.

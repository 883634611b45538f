//! Labs for tests: hosts in namespaces, counting clients, probes. A dev-dependency only.

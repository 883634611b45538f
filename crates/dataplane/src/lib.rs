//! Data planes: each lowers a plan, reads the kernel, diffs and applies. Knows no Kubernetes JSON.

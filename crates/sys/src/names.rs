//! How a binary without shared libraries turns host names into addresses. The resolving itself is the standard library's.
#![expect(unsafe_code, reason = "the C library's own switch for it has no safe binding")]

/// From now on this process looks host names up in `/etc/hosts` and by DNS alone. Without it a static binary loads the modules that the
/// machine's `/etc/nsswitch.conf` names (`resolve`, `myhostname`), made for another C library, which ends the process by a signal.
/// To be called before the first look-up.
#[cfg(target_env = "gnu")]
pub fn look_up_by_files_and_dns() {
    unsafe extern "C" {
        /// glibc's `nss.h`; fails for an unknown database or a line that cannot be read.
        fn __nss_configure_lookup(
            database: *const std::ffi::c_char,
            services: *const std::ffi::c_char,
        ) -> std::ffi::c_int;
    }
    // SAFETY: both are strings that end in NUL and are never freed; glibc takes a lock for what it changes.
    let failed = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    debug_assert_eq!(failed, 0, "the database and both services are glibc's own");
}

/// Other C libraries have no modules.
#[cfg(not(target_env = "gnu"))]
pub fn look_up_by_files_and_dns() {}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::*;

    #[test]
    fn names_of_the_hosts_file_are_found() {
        look_up_by_files_and_dns();
        let found: Vec<_> = ("localhost", 6443).to_socket_addrs().unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}

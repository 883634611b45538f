//! The server driven as clients drive it: requests in, answers checked. In process where no socket is needed.

mod support;

mod bad_input;
mod deletion;
mod kubectl;
mod lists;
mod services;
mod smoke;
mod subresources;
mod watches;

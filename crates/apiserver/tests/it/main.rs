//! The server driven as clients drive it: requests in, answers checked. In process where no socket is needed.

mod support;

mod smoke;

//! One pure module per controller, (snapshot, now) to writes and outcome, and the one shell that runs them.

//! Has the data plane forget the connections of what left, beside the loop and without keeping a change waiting.
//!
//! Owns when: [`CLEANING_DELAY`] after a change; changes that come until then or while it runs wait together for the next run, and after each there is
//! [`REST`] times as much rest as it took, up to [`LONGEST_REST`], so that a fiftieth of a processor goes into reading usual tables. Which connections go is `stead-dataplane`'s.

use std::{convert::Infallible, time::Duration};

use stead_client::{Backoff, error_text};
use stead_dataplane::{CLEANING_DELAY, Cleaner};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{FIRST_WAIT, LONGEST_WAIT, metrics::Metrics, on_blocking_thread};

const REST: u32 = 49;
const LONGEST_REST: Duration = Duration::from_secs(2);

/// Cleans after each notice, and after a failure until it succeeds.
pub(crate) async fn clean_after(changed: &Notify, mut cleaner: Box<dyn Cleaner>, metrics: &Metrics) -> Infallible {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        if backoff.failures() == 0 {
            changed.notified().await;
            sleep(CLEANING_DELAY).await;
        }
        let start = Instant::now();
        let result;
        (cleaner, result) = on_blocking_thread(cleaner, |cleaner| cleaner.clean()).await;
        match result {
            Ok(flows) => {
                let took = start.elapsed();
                metrics.on_cleaned(took, flows);
                if flows > 0 {
                    tracing::debug!(flows, ?took, "connections of what left are forgotten");
                }
                backoff.reset();
                sleep((took * REST).min(LONGEST_REST)).await;
            }
            Err(error) => {
                tracing::warn!(error = error_text(&error), "connections of what left are not forgotten; trying again");
                sleep(backoff.next_wait()).await;
            }
        }
    }
}

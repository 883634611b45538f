//! Questions in the background, while a test does something to what answers them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use stead_model::Protocol;

use crate::{Calls, Host, Tally};

/// Questions that are being asked. Dropping it ends them.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    /// `None` once it was joined.
    thread: Option<JoinHandle<std::io::Result<Tally>>>,
}

impl Load {
    pub(crate) fn start(host: &Host, protocol: Protocol, to: SocketAddr, calls: Calls) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let namespace = host.namespace().try_clone()?;
        let ask = move || namespace.run(|| calls.run_here(protocol, to, || stopped.load(Ordering::Relaxed)));
        Ok(Self { stop, thread: Some(std::thread::Builder::new().name("load".into()).spawn(ask)?) })
    }

    /// Ends the questions and tells how they fared.
    pub fn stop(mut self) -> anyhow::Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow::anyhow!("the load has ended"))?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test that drops it is failing already, or does not care.
            let _ = thread.join();
        }
    }
}

//! The heartbeat: a thread that renews the lease while a long step runs, and hears of an abort, a pause or a lost lease.

use super::client::{JobClient, LeaseLost};
use laurel_protocol::{Directive, Report};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

/// What the server or the operator wants of the job in hand.
#[derive(Clone, Default)]
pub struct Wishes {
    pub abort: Arc<AtomicBool>,
    /// Stop at the next boundary with a checkpoint; the job then waits for an admin.
    pub pause: Arc<AtomicBool>,
    pub lost: Arc<AtomicBool>,
    /// A turn of a chat waits for the base model in memory.
    pub chat: Arc<AtomicBool>,
    /// SIGTERM: stop at the next boundary, the job stays open.
    pub quit: Arc<AtomicBool>,
}

impl Wishes {
    pub fn stop(&self) -> bool {
        [&self.abort, &self.pause, &self.lost, &self.quit]
            .iter()
            .any(|flag| flag.load(Ordering::SeqCst))
    }

    pub fn heed(&self, directive: Directive) {
        if directive.abort {
            self.abort.store(true, Ordering::SeqCst);
        }
        self.chat.store(directive.chat, Ordering::SeqCst);
        if directive.pause {
            self.pause.store(true, Ordering::SeqCst);
        }
    }
}

/// Beats until it is dropped.
pub struct Heart {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    pub fn start(client: JobClient, lease_seconds: u32, wishes: Wishes) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let every = Duration::from_millis(u64::from(lease_seconds.max(1)) * 1000 / 3);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                match client.post::<Directive>("report", &Report::default()) {
                    Ok(directive) => wishes.heed(directive),
                    Err(error) if error.is::<LeaseLost>() => {
                        wishes.lost.store(true, Ordering::SeqCst);
                        return;
                    }
                    Err(error) => tracing::warn!("A heartbeat failed: {error:#}"),
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

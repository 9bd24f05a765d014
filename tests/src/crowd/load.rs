//! What the processor's time went to: the server, this program, everything else on the machine.

use anyhow::{Context, Result};
use std::{fs, time::Instant};

/// Linux counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time up to one moment.
#[derive(Clone, Copy)]
struct Used {
    own: f64,
    all: f64,
}

/// Watches from a moment on. A server that is ended on the way must be asked before its end, see [`Self::before_end`].
pub struct Watch {
    begun: Instant,
    at_begin: Used,
    server: u32,
    server_at_begin: f64,
    /// What servers used that are gone.
    server_before: f64,
}

/// Cores in use, on average.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub server: f64,
    pub own: f64,
    pub other: f64,
}

impl Watch {
    pub fn start(server: u32) -> Result<Self> {
        Ok(Self {
            begun: Instant::now(),
            at_begin: used()?,
            server,
            server_at_begin: of_process(&server.to_string())?,
            server_before: 0.0,
        })
    }

    pub fn before_end(&mut self) -> Result<()> {
        self.server_before += of_process(&self.server.to_string())? - self.server_at_begin;
        Ok(())
    }

    pub fn go_on_with(&mut self, server: u32) {
        (self.server, self.server_at_begin) = (server, 0.0);
    }

    pub fn stop(&self) -> Result<Cores> {
        let wall = self.begun.elapsed().as_secs_f64();
        let now = used()?;
        let server = self.server_before + of_process(&self.server.to_string())? - self.server_at_begin;
        let own = now.own - self.at_begin.own;
        let other = (now.all - self.at_begin.all - own - server).max(0.0);
        Ok(Cores {
            server: server / wall,
            own: own / wall,
            other: other / wall,
        })
    }
}

fn used() -> Result<Used> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy: f64 = ticks.iter().take(8).sum::<f64>() - ticks.iter().skip(3).take(2).sum::<f64>();
    Ok(Used {
        own: of_process("self")?,
        all: busy / TICKS_PER_SECOND,
    })
}

fn of_process(id: &str) -> Result<f64> {
    let text =
        fs::read_to_string(format!("/proc/{id}/stat")).with_context(|| format!("read /proc/{id}/stat"))?;
    // The name stands in brackets and may have spaces; user and system time are the 14th and 15th fields.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks = behind.split_whitespace().skip(11).take(2);
    Ok(ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND)
}

//! The demo's providers: how they differ. Each difference is real, and named in the output.

/// One provider of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// Its name on this machine; the market knows only its key.
    pub name: &'static str,
    /// Credits for a reference GPU-hour.
    pub ask: &'static str,
    /// Declared region.
    pub region: &'static str,
    /// Threads that it computes with.
    pub threads: u16,
    /// Milliseconds that it adds to its pings and answers.
    pub delay_ms: u64,
}

/// The cheap one is slow and far, the near one dear; the third is the only one in its region.
pub const CAST: [Cast; 3] = [
    Cast { name: "ada", ask: "0.6", region: "eu-de", threads: 1, delay_ms: 40 },
    Cast { name: "bob", ask: "2.5", region: "eu-fr", threads: 2, delay_ms: 0 },
    Cast { name: "cleo", ask: "1.5", region: "us-va", threads: 1, delay_ms: 60 },
];

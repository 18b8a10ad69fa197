//! Wires of this process: it takes each frame that a place sends, keeps it for as long as its way is, and hands it over.
//!
//! The far end of each place's cable is a macvtap device: a file from which frames are read, and to which they are written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;
use tokio::{
    net::unix::pipe::Receiver,
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::sleep_until,
};

use super::{INTERFACE, LOST_OF, Namespace, Trouble, Way, number, port, run};
use crate::sim::rng::Rng;

/// Bytes that the kernel puts before each frame, about checksums; they are handed over as they came.
const BEFORE: usize = 10;
/// Bytes of the longest frame: the kernel leaves it to the other end to cut what programs send.
const FRAME_MAX: usize = BEFORE + 14 + 65_536;
/// Frames on their way between two places; further ones are lost.
const ON_THE_WAY_MAX: usize = 4_096;
/// What a kernel says that has no such device.
const UNKNOWN: [&str; 2] = ["Unknown device type", "not supported"];

/// Carries frames until it is dropped.
pub(super) struct Carrier {
    runtime: Option<Runtime>,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// A frame, and when it is handed over.
type Sent = (Instant, Arc<[u8]>);

/// The ways from one place: to which other, how long, and who carries there.
struct Ways {
    to: Vec<(usize, Way, mpsc::Sender<Sent>)>,
    rng: Rng,
}

/// Joins the places.
pub(super) fn join(
    places: &[Namespace],
    run: u32,
    way: &impl Fn(usize, usize) -> Way,
) -> Result<Carrier, Trouble> {
    let files = places.iter().enumerate().map(|(at, place)| tap(place, run, at));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let broken = |error: io::Error| Trouble::Broken(format!("the carrier: {error}"));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(broken)?;
    let _entered = runtime.enter();
    for (from, file) in files.iter().enumerate() {
        let writers = files.iter().enumerate().filter(|(to, _)| *to != from);
        let ways = writers.map(|(to, other)| Ok((to, way(from, to), carry(other.try_clone()?))));
        let ways = Ways { to: ways.collect::<io::Result<_>>().map_err(broken)?, rng: Rng::new(from as u64) };
        // It is no pipe, but is read like one.
        let reader = file.try_clone().and_then(Receiver::from_file_unchecked).map_err(broken)?;
        tokio::spawn(take_frames(reader, ways));
    }
    Ok(Carrier { runtime: Some(runtime) })
}

/// The file of the far end of a place's cable.
fn tap(place: &Namespace, run_number: u32, at: usize) -> Result<File, Trouble> {
    let (port, number) = (port(run_number, at), number(at));
    let (tap, hardware) = (format!("{port}t"), format!("02:00:00:00:00:{number:02x}"));
    let ip = |words: &[&str]| run(Command::new("ip").args(words));
    let near = ["peer", "name", INTERFACE, "address", &hardware, "netns", &place.process()];
    let pair = ip(&[&["link", "add", &port, "type", "veth"], &near[..]].concat());
    let added = pair.and_then(|()| {
        ip(&["link", "add", "link", &port, "name", &tap, "type", "macvtap", "mode", "passthru"])
    });
    added.map_err(|trouble| match trouble {
        Trouble::Broken(why) if UNKNOWN.iter().any(|unknown| why.contains(unknown)) => {
            Trouble::Missing(format!("this kernel has neither netem, nor veth and macvtap: {why}"))
        }
        trouble => trouble,
    })?;
    ip(&["link", "set", &port, "up"])?;
    ip(&["link", "set", &tap, "up"])?;
    let index = fs::read_to_string(format!("/sys/class/net/{tap}/ifindex"))
        .map_err(|error| Trouble::Broken(format!("the number of {tap}: {error}")))?;
    let device = format!("/dev/tap{}", index.trim());
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&device);
    file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Trouble::Missing(format!(
            "this kernel has no netem, and no device file can be used: {device}: {error}"
        )),
        _ => Trouble::Broken(format!("{device}: {error}")),
    })
}

/// Takes what a place sends, and sends it on its ways.
async fn take_frames(tap: Receiver, mut ways: Ways) {
    let mut buffer = vec![0; FRAME_MAX];
    // Each read takes one frame, so only a read that finds none says that there are no more.
    while tap.readable().await.is_ok() {
        match tap.try_read(&mut buffer) {
            Ok(len) => ways.send(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // It stays while its cable is out, and is gone for good then.
            Err(_) => return,
        }
    }
}

impl Ways {
    fn send(&mut self, bytes: &[u8]) {
        let Some(goes_to) = bytes.get(BEFORE..).and_then(recipients) else { return };
        let (frame, now): (Arc<[u8]>, _) = (bytes.into(), Instant::now());
        for (_, way, carrier) in self.to.iter().filter(|(to, ..)| goes_to(*to)) {
            let late_us = way.delay_us + self.rng.below(way.jitter_us + 1);
            if !self.rng.one_in(LOST_OF) {
                // A frame for which there is no room is lost, as on any wire.
                let _ = carrier.try_send((now + Duration::from_micros(late_us), frame.clone()));
            }
        }
    }
}

/// Which places a frame is for: one, or all; no others are sent here.
fn recipients(frame: &[u8]) -> Option<impl Fn(usize) -> bool> {
    let hardware = *frame.first_chunk::<6>()?;
    let is_for_all = hardware == [0xff; 6];
    let is_for_one = hardware[..5] == [2, 0, 0, 0, 0];
    (is_for_all || is_for_one).then_some(move |to| is_for_all || number(to) == hardware[5])
}

/// Hands frames over to a place, in the order in which they were sent.
fn carry(mut tap: File) -> mpsc::Sender<Sent> {
    let (sender, mut sent) = mpsc::channel::<Sent>(ON_THE_WAY_MAX);
    tokio::spawn(async move {
        while let Some((at, frame)) = sent.recv().await {
            sleep_until(at.into()).await;
            // A cable that is pulled out takes nothing.
            let _ = tap.write(&frame);
        }
    });
    sender
}

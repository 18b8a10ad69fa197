//! The race, with sources that need no network.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use super::*;

/// "weights" as a file of the catalogue.
const ENTRY: CatalogueEntry = CatalogueEntry {
    name: "Test",
    file: "test.gguf",
    bytes: 7,
    // Set by `World::new`, from the content itself.
    sha256: "",
    id: "",
    license: "none",
    sources: &[],
};

/// What a source does.
#[derive(Clone)]
enum Does {
    Gives(&'static str),
    Fails,
    /// Gives nothing until it is stopped; says so to the test.
    Hangs(SyncSender<()>),
}

struct Fake {
    does: Does,
    calls: Arc<AtomicUsize>,
}

impl Fetch for Fake {
    fn name(&self) -> String {
        "fake".to_owned()
    }

    fn fetch(&self, job: &Job) -> Result<PathBuf, SourceError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match &self.does {
            Does::Gives(content) => {
                let path = job.staging.join("file");
                fs::write(&path, content)?;
                job.report(content.len() as u64);
                Ok(path)
            }
            Does::Fails => Err(SourceError::Failed("no route".to_owned())),
            Does::Hangs(stopped) => {
                assert!(job.stop.is_set_within(Duration::from_secs(60)), "a loser is stopped");
                stopped.send(()).ok();
                Err(SourceError::Stopped)
            }
        }
    }
}

struct World {
    folder: tempfile::TempDir,
    entry: CatalogueEntry,
    calls: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let sample = folder.path().join("sample");
        fs::write(&sample, "weights").expect("the folder is writable");
        let sha256 = sha256_of(&sample).expect("the sample can be read").leak();
        Self { folder, entry: CatalogueEntry { sha256, ..ENTRY }, calls: Arc::default() }
    }

    fn cache(&self) -> ModelCache {
        ModelCache::new(self.folder.path().join("cache"))
    }

    fn pull(&self, sources: &[Does]) -> Result<PathBuf, PullError> {
        self.pull_watched(sources, Arc::new(|_, _| ()))
    }

    fn pull_watched(&self, sources: &[Does], progress: OnProgress) -> Result<PathBuf, PullError> {
        let fake = |does: &Does| -> Box<dyn Fetch> {
            Box::new(Fake { does: does.clone(), calls: Arc::clone(&self.calls) })
        };
        pull_from(sources.iter().map(fake).collect(), &self.entry, &self.cache(), progress)
    }
}

#[test]
fn sha256_is_the_known_one() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("abc");
    fs::write(&path, "abc").expect("the folder is writable");
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256_of(&path).expect("the file can be read"), digest);
}

#[test]
fn the_first_sound_file_wins_and_stays() {
    let world = World::new();
    let path =
        world.pull(&[Does::Fails, Does::Gives("forgery"), Does::Gives("weights")]).expect("one is sound");
    assert_eq!(fs::read_to_string(&path).expect("the file is there"), "weights");
    assert_eq!(path, world.cache().path_of(&world.entry));
    assert_eq!(world.pull(&[]).expect("no source is needed any more"), path);
}

#[test]
fn a_pull_leaves_the_file_and_its_lock() {
    let world = World::new();
    world.pull(&[Does::Gives("weights")]).expect("the source is sound");
    let left: Vec<_> = fs::read_dir(world.cache().folder()).expect("the cache exists").flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn losers_are_stopped() {
    let world = World::new();
    let (sender, stopped) = sync_channel(4);
    world.pull(&[Does::Hangs(sender), Does::Gives("weights")]).expect("one is sound");
    stopped.recv_timeout(Duration::from_secs(60)).expect("the loser heard of it");
}

#[test]
fn the_reason_of_every_failure_is_told() {
    let world = World::new();
    let error = world.pull(&[Does::Fails, Does::Gives("forgery")]).expect_err("none is sound").to_string();
    for word in ["fake: no route", "SHA-256", world.entry.sha256, "test.gguf", "--model PATH"] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(world.cache().cached(&world.entry), None);
    let again = world.pull(&[Does::Gives("weights")]);
    assert!(again.is_ok(), "a failed pull leaves nothing in the way of the next: {again:?}");
}

#[test]
fn two_pulls_fetch_once() {
    let world = World::new();
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                world.pull(&[Does::Gives("weights")]).expect("the source is sound");
            });
        }
    });
    assert_eq!(world.calls.load(Ordering::SeqCst), 1);
}

#[test]
fn progress_is_of_the_whole() {
    let world = World::new();
    let (sender, seen) = sync_channel(4);
    let progress: OnProgress = Arc::new(move |done, total| sender.send((done, total)).unwrap_or_default());
    world.pull_watched(&[Does::Gives("weights")], progress).expect("the source is sound");
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [(7, 7)]);
}

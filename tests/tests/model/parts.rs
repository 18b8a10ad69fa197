//! Models in several files: found beside the one that is opened, or refused by the name of the part at fault.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gridhour_node::{
    engine::{Engine, EngineConfig},
    model::{
        config::llama_config,
        gguf::{Gguf, GgufError, PARTS_MAX, Value},
    },
};
use tempfile::TempDir;
use testkit::gguf::{GgufWriter, SmallModel};

/// A folder with a model in parts.
struct Folder {
    folder: TempDir,
    count: usize,
}

impl Folder {
    fn of(parts: &[GgufWriter]) -> Self {
        let folder = Self { folder: TempDir::new().expect("a folder for the test"), count: parts.len() };
        (1..).zip(parts).for_each(|(number, part)| folder.write(number, part));
        folder
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("small-{number:05}-of-{:05}.gguf", self.count))
    }

    fn write(&self, number: usize, part: &GgufWriter) {
        fs::write(self.path(number), part.finish()).expect("the test's own folder");
    }

    fn refusal(&self, number: usize) -> String {
        refusal(&self.path(number))
    }
}

fn refusal(path: &Path) -> String {
    Gguf::open(path).map(|_| ()).expect_err("the parts do not fit").to_string()
}

fn small() -> GgufWriter {
    SmallModel::mixed(1).writer()
}

fn id(file: &Gguf) -> String {
    Engine::from_gguf(file, EngineConfig::default()).expect("a sound model").model_id().to_string()
}

#[test]
fn any_part_opens_the_whole_model() {
    let whole = Gguf::from_bytes(small().finish()).expect("a sound file");
    for count in [2, 3, 5, whole.tensors().len() + 3] {
        let folder = Folder::of(&small().parts(count));
        for number in [1, count.div_ceil(2), count] {
            let file = Gguf::open(&folder.path(number)).expect("the parts fit");
            llama_config(&file).expect("the sizes are sound");
            assert_eq!(file.tensors().len(), whole.tensors().len());
            let same = |name: &str| file.tensor(name).expect("is there").bytes;
            assert!(whole.tensors().all(|tensor| same(tensor.name) == tensor.bytes));
            assert!(file.bytes() > whole.bytes(), "each part has a head");
        }
        let opened = Gguf::open(&folder.path(1)).expect("the parts fit");
        assert_eq!(id(&opened), id(&whole));
    }
}

#[test]
fn a_model_that_says_it_is_one_part_of_one_is_whole() {
    let mut file = small();
    file.meta("split.count", Value::Uint(1));
    assert!(Gguf::from_bytes(file.finish()).is_ok());
}

#[test]
fn a_missing_or_damaged_part_is_named() {
    let folder = Folder::of(&small().parts(3));
    fs::remove_file(folder.path(2)).expect("it is there");
    let missing = folder.refusal(3);
    assert!(missing.contains("small-00002-of-00003.gguf") && missing.contains("cannot read"), "{missing}");
    fs::write(folder.path(2), b"GGUF\x03\0\0\0\x01").expect("the test's own folder");
    let damaged = folder.refusal(1);
    assert!(damaged.contains("small-00002-of-00003.gguf") && damaged.contains("cut short"), "{damaged}");
}

#[test]
fn parts_that_are_mixed_up_are_named() {
    let parts = small().parts(3);
    let folder = Folder::of(&parts);
    folder.write(2, &parts[2]);
    assert!(
        folder.refusal(1).contains("small-00002-of-00003.gguf says that it is part 3 of 3, not part 2 of 3")
    );
    folder.write(2, &small().parts(4)[1]);
    assert!(folder.refusal(1).contains("part 2 of 4, not part 2 of 3"));
    folder.write(2, &small());
    assert!(folder.refusal(1).contains("part 1 of 1, not part 2 of 3"));
    let mut other = parts[1].clone();
    other.meta("split.tensors.count", Value::Int(7));
    folder.write(2, &other);
    assert!(folder.refusal(3).contains("small-00002-of-00003.gguf speaks of 7 tensors"));
}

#[test]
fn tensors_that_are_doubled_or_left_out_are_noticed() {
    let parts = small().parts(3);
    let folder = Folder::of(&parts);
    let mut doubled = parts[2].clone();
    doubled.tensors.push(parts[0].tensors[0].clone());
    folder.write(3, &doubled);
    let name = &parts[0].tensors[0].name;
    let refusal = folder.refusal(1);
    assert!(refusal.contains(name) && refusal.contains("twice"), "{refusal}");
    let mut short = parts[2].clone();
    short.tensors.pop();
    folder.write(3, &short);
    assert!(folder.refusal(1).contains("one of them is of another model"));
}

#[test]
fn a_part_alone_or_under_another_name_is_refused() {
    let parts = small().parts(2);
    let alone = Gguf::from_bytes(parts[1].finish()).expect_err("the other is not there");
    assert!(matches!(alone, GgufError::Alone { number: 2, count: 2 }), "{alone}");
    let folder = Folder::of(&parts);
    let renamed = folder.folder.path().join("small.gguf");
    fs::rename(folder.path(1), &renamed).expect("both are in the test's folder");
    assert!(refusal(&renamed).contains("-00001-of-00002.gguf"));
    // Another first part lies where this one is looked for.
    assert!(folder.refusal(2).contains("small-00001-of-00002.gguf"));
}

#[test]
fn numbers_of_parts_are_bounded() {
    let with = |key: &str, value: Value| {
        let mut part = small().parts(2).remove(0);
        part.meta(key, value);
        Gguf::from_bytes(part.finish()).expect_err("the number is out of bounds").to_string()
    };
    assert!(with("split.count", Value::Uint(PARTS_MAX + 1)).contains("split.count"));
    assert!(with("split.count", Value::Text("2".to_owned())).contains("split.count"));
    assert!(with("split.no", Value::Uint(2)).contains("split.no"));
    assert!(with("split.tensors.count", Value::Int(-1)).contains("split.tensors.count"));
}

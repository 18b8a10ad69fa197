//! The known answers of `tests/vectors/numerics_v1.txt`: one line per case, written by the definition and
//! compared with it. Run with `GRIDHOUR_WRITE_VECTORS=1` to write the file anew after a deliberate change.

mod cases;

use std::{env, fmt::Display, fs, path::Path};

use gridhour_protocol::exact::{a15::Scaled, scale::Scale};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/numerics_v1.txt");

const HEADER: &str = "\
# Known answers of Gridhour numerics, version 1 (docs/NUMERICS.md), for implementations in any language.
# A line is: operator, inputs name=value, '->', outputs name=value, separated by spaces.
# A value is an integer; integers joined by ','; a scale m:e; or bytes in hexadecimal (names ending in _hex).
# Lists of vectors repeat a name. Matrices are the bytes of a GGUF tensor, row after row.
";

/// The lines of the file.
struct Answers(String);

impl Answers {
    fn line(&mut self, operator: &str, inputs: &[(&str, String)], outputs: &[(&str, String)]) {
        self.0 += operator;
        self.fields(inputs);
        self.0 += " ->";
        self.fields(outputs);
        self.0 += "\n";
    }

    fn fields(&mut self, fields: &[(&str, String)]) {
        for (name, value) in fields {
            self.0 += &format!(" {name}={value}");
        }
    }
}

fn ints<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

fn scale(s: Scale) -> String {
    format!("{}:{}", s.mantissa(), s.exponent())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The two fields of a scaled vector.
fn scaled<'a, T: Display>(v: &Scaled<T>, [values, unit]: [&'a str; 2]) -> [(&'a str, String); 2] {
    [(values, ints(&v.values)), (unit, scale(v.scale))]
}

/// The first line in which two texts differ, for a message that says where to look.
fn first_difference(expected: &str, actual: &str) -> Option<String> {
    let lines = expected.lines().zip(actual.lines()).enumerate();
    let differing =
        lines.filter(|(_, (e, a))| e != a).map(|(i, (e, a))| format!("line {}:\n{e}\n{a}", i + 1)).next();
    let lengths = (expected.lines().count(), actual.lines().count());
    differing.or_else(|| (expected != actual).then(|| format!("{lengths:?} lines")))
}

#[test]
fn the_definition_gives_the_known_answers() {
    let mut answers = Answers(HEADER.to_owned());
    cases::write(&mut answers);
    if env::var_os("GRIDHOUR_WRITE_VECTORS").is_some() {
        fs::write(Path::new(FILE), &answers.0).expect("the test may write to its own directory");
    }
    let known = fs::read_to_string(FILE).expect("the known answers are checked in");
    assert_eq!(first_difference(&known, &answers.0), None);
}

use super::*;

fn share(text: &str) -> Share {
    text.parse().expect("a share")
}

/// Of all ways to draw `drawn` of `all` things, those that miss the first `hidden`, and all.
fn counted(all: u32, drawn: u32, hidden: u32) -> (u64, u64) {
    let draws = (0_u32..1 << all).filter(|draw| draw.count_ones() == drawn);
    draws.fold((0, 0), |(missed, possible), draw| {
        (missed + u64::from(draw & ((1 << hidden) - 1) == 0), possible + 1)
    })
}

#[test]
fn what_escapes_is_what_counting_every_sample_says() {
    for all in 0..=9_u32 {
        for drawn in 0..=all {
            for risk in ["0.05", "0.5", "0.000001", "0.333334", "1.0"].map(share) {
                let escapes = |hidden: &u32| {
                    let (missed, possible) = counted(all, drawn, *hidden);
                    missed * u64::from(MILLION) >= possible * u64::from(risk.millionths())
                };
                let most = (0..=all).filter(escapes).max().expect("none at all escapes");
                let found = hidden_most(all.into(), drawn.into(), risk);
                assert_eq!(found, most.into(), "{drawn} of {all} at {risk}");
            }
        }
    }
}

#[test]
fn known_samples_hide_what_is_known() {
    let risk = share("0.05");
    // The rule of three: 3 / m of very many, and a little less of few.
    assert_eq!(hidden_most(1_000_000, 300, risk), 9_934);
    assert_eq!(hidden_most(100, 5, risk), 44);
    assert_eq!(hidden_most(100, 100, risk), 0);
    assert_eq!(hidden_most(100, 99, risk), 0, "one false result escapes with 1 %");
    assert_eq!(hidden_most(100, 95, risk), 1, "one false result escapes with 5 % exactly");
    assert_eq!(hidden_most(100, 0, risk), 100, "nothing drawn, nothing known");
    assert_eq!(hidden_most(0, 0, risk), 0);
    assert_eq!(hidden_most(u64::from(u32::MAX), 1 << 31, risk), 4, "half of them: 1/2, 1/4, 1/8, 1/16");
}

#[test]
fn more_drawn_hide_less() {
    let hidden: Vec<u64> = (0..=60).map(|drawn| hidden_most(60, drawn, share("0.05"))).collect();
    assert!(hidden.is_sorted_by(|few, more| few >= more), "{hidden:?}");
    assert_eq!((hidden[0], hidden[60]), (60, 0));
}

#[test]
fn a_sample_follows_from_its_seed_and_from_nothing_else() {
    let receipts: Vec<ReceiptId> = (0..100).map(|n| ReceiptId([n; 32])).collect();
    let drawn = draw(&[1; 32], &receipts, 20);
    assert_eq!(drawn.len(), 20);
    assert!(drawn.is_sorted_by(|a, b| a < b));
    assert_eq!(drawn, draw(&[1; 32], &receipts, 20));
    assert_ne!(drawn, draw(&[2; 32], &receipts, 20));
    let turned: Vec<ReceiptId> = receipts.iter().rev().copied().collect();
    let named = |list: &[ReceiptId], places: &[usize]| {
        let mut ids: Vec<ReceiptId> = places.iter().map(|place| list[*place]).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(named(&turned, &draw(&[1; 32], &turned, 20)), named(&receipts, &drawn));
    assert_eq!(draw(&[1; 32], &receipts, 1_000), (0..100).collect::<Vec<_>>());
    assert!(draw(&[1; 32], &receipts, 0).is_empty());
}

/// Over many seeds each result is drawn about as often as any other: 2,000 seeds, 10 of 50, so 400 times each, of a
/// standard deviation of 18.
#[test]
fn every_result_is_as_likely_as_any_other() {
    let receipts: Vec<ReceiptId> = (0..50).map(|n| ReceiptId([n; 32])).collect();
    let mut times = [0_u32; 50];
    for number in 0_u64..2_000 {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        draw(&seed, &receipts, 10).into_iter().for_each(|place| times[place] += 1);
    }
    assert!(times.iter().all(|count| count.abs_diff(400) < 5 * 18), "{times:?}");
}

#[test]
fn shares_and_sizes_are_read_exactly_or_refused() {
    for (text, millionths) in [("0.05", 50_000), ("0.000001", 1), ("1.0", 1_000_000), ("0.5", 500_000)] {
        assert_eq!(share(text).millionths(), millionths);
        assert_eq!(share(text).to_string(), text);
    }
    for text in ["0.0", "1.000001", "2.0", ".5", "0.", "0.0000001", "-0.1", "1e-3", "0,5", "", "1", "00.5"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
    assert_eq!("7".parse(), Ok(SampleSize::Count(7)));
    assert_eq!("0.25".parse::<SampleSize>().map(|size| size.of(10)), Ok(3), "rounded up");
    assert_eq!([SampleSize::Count(7).of(3), SampleSize::Count(7).of(9)], [3, 7]);
    assert_eq!(share("0.000001").of(u64::MAX), u64::MAX.div_ceil(1_000_000));
    for text in ["0", "-1", "x", "1.5", "18446744073709551616"] {
        assert!(text.parse::<SampleSize>().is_err(), "{text}");
    }
    assert_eq!(share("0.95").rest(), share("0.05"));
}

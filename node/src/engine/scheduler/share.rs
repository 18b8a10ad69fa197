//! How the rows of a pass are shared among jobs.

/// Shares `rows` rows among jobs that want so many each. Nobody gets more than it wants, and nobody gets fewer
/// than another but for wanting fewer, or for one row that could not be split; such rows go to the first in
/// the list.
pub(super) fn share(wants: &[usize], rows: usize) -> Vec<usize> {
    let mut given = vec![0; wants.len()];
    let mut left = rows;
    loop {
        let open: Vec<usize> = (0..wants.len()).filter(|job| given[*job] < wants[*job]).collect();
        if open.is_empty() || left == 0 {
            return given;
        }
        let each = (left / open.len()).max(1);
        for job in open.into_iter().take(left) {
            let more = each.min(wants[job] - given[job]);
            given[job] += more;
            left -= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn those_who_want_little_get_it_and_the_rest_is_split() {
        assert_eq!(share(&[1, 1000, 1, 10], 64), [1, 52, 1, 10]);
        assert_eq!(share(&[1000, 1000, 1000], 64), [22, 21, 21]);
        assert_eq!(share(&[0, 5, 0], 64), [0, 5, 0]);
        assert_eq!(share(&[3, 3, 3], 2), [1, 1, 0]);
        assert!(share(&[], 64).is_empty());
    }

    proptest! {
        #[test]
        fn shares_are_fair_and_leave_nothing_over(wants in vec(0..200usize, 0..20), rows in 0..300usize) {
            let given = share(&wants, rows);
            let wanted: usize = wants.iter().sum();
            prop_assert_eq!(given.iter().sum::<usize>(), rows.min(wanted));
            for (a, (mine, want)) in given.iter().zip(&wants).enumerate() {
                prop_assert!(mine <= want);
                for (b, other) in given.iter().enumerate() {
                    let earlier = usize::from(b < a);
                    prop_assert!(mine == want || *other <= mine + earlier, "{:?} of {:?}", given, wants);
                }
            }
        }
    }
}

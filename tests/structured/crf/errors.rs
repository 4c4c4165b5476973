//! Bad inputs.

use ndarray::{Array1, Array2, Array3, array};
use recurrent::layer::crf::{Constraints, Crf, Scheme};
use recurrent::{Arrays, Result, Sequences};

use super::{crf, emissions};

fn says<V: std::fmt::Debug>(result: Result<V>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn emissions_that_do_not_fit_are_refused() {
    let crf = crf(3, 1.0, 1);
    let mut values = emissions(&[4, 2], 3, 1.0, 1).into_values();
    values[[1, 0, 2]] = f64::NAN;
    values[[3, 1, 0]] = f64::NAN; // in the padding
    let x = Sequences::new(values, vec![4, 2]).unwrap();
    let expected = "emissions[1, 0, 2]: expected a finite value, got NaN";
    let gold = Array2::zeros((4, 2));
    let mut grad = crf.zeros_like();
    assert_eq!(says(crf.loss_and_grad(&x, &gold, &mut grad)), expected);
    assert_eq!(says(crf.losses(&x, &gold)), expected);
    assert_eq!(says(crf.marginals(&x)), expected);
    assert_eq!(says(crf.viterbi(&x)), expected);
    let wide = emissions(&[4, 2], 4, 1.0, 1);
    let expected = "emissions: expected [4, 2, 3] (time, batch, tags), got [4, 2, 4]";
    assert_eq!(says(crf.viterbi(&wide)), expected);
    let infinite = Sequences::full(Array3::from_elem((1, 1, 3), f64::NEG_INFINITY)).unwrap();
    let expected = "emissions[0, 0, 0]: expected a finite value, got -inf";
    assert_eq!(says(crf.log_partitions(&infinite)), expected);
    let huge = Sequences::full(Array3::from_elem((9, 1, 3), 1e308)).unwrap();
    let loss = says(crf.loss(&huge, &Array2::zeros((9, 1))));
    assert!(loss.starts_with("loss: expected finite values"), "{loss}");
}

#[test]
fn scores_that_are_not_finite_are_refused() {
    let mut crf = crf(2, 1.0, 1);
    crf.fill(f64::INFINITY);
    let x = emissions(&[2], 2, 1.0, 1);
    let expected = "start_transitions: expected finite values, got inf at flat index 0";
    assert_eq!(says(crf.viterbi(&x)), expected);
}

#[test]
fn tags_that_do_not_fit_are_refused() {
    let names = ["O", "B-X", "I-X", "E-X", "S-X"];
    let crf = crf(5, 1.0, 1).constraints(Constraints::bioes(&names).unwrap()).unwrap();
    let x = emissions(&[3, 2], 5, 1.0, 1);
    let loss = |gold: Array2<usize>| says(crf.loss(&x, &gold));
    assert_eq!(loss(array![[0, 0], [0, 0]]), "tags: expected [3, 2] (time, batch), got [2, 2]");
    assert_eq!(
        loss(array![[0, 0], [0, 5], [0, 9]]),
        "tags[1, 1]: expected less than 5 (tags), got 5"
    );
    assert_eq!(
        loss(array![[2, 0], [3, 0], [0, 9]]),
        "tags[0, 0]: expected a tag that may start a sequence, got 2"
    );
    assert_eq!(
        loss(array![[0, 1], [0, 4], [0, 9]]),
        "tags[1, 1]: expected a tag that may follow 1, got 4"
    );
    assert_eq!(
        loss(array![[0, 0], [4, 0], [1, 9]]),
        "tags[2, 0]: expected a tag that may end a sequence, got 1"
    );
    assert!(crf.loss(&x, &array![[1, 4], [2, 0], [3, 9]]).is_ok());
    let mut other = Crf::new(4, &mut super::rng(1)).unwrap();
    assert_eq!(
        says(crf.loss_and_grad(&x, &array![[0, 0], [0, 0], [0, 9]], &mut other)),
        "grad: expected an array `start_transitions [5]`, got `start_transitions [4]`"
    );
}

#[test]
fn constraints_without_a_path_name_the_sequence() {
    // 0 starts, 1 ends, and nothing follows 1: the only path has two steps.
    let transitions = array![[false, true], [false, false]];
    let rules = Constraints::new(array![true, false], array![false, true], transitions).unwrap();
    let crf = crf(2, 1.0, 1).constraints(rules).unwrap();
    let x = emissions(&[2, 0, 2], 2, 1.0, 1);
    assert_eq!(crf.viterbi(&x).unwrap()[2].tags, [0, 1]);
    assert_eq!(crf.k_best(&x, 4).unwrap()[0].len(), 1);
    for length in [1, 3] {
        let x = emissions(&[2, 0, length], 2, 1.0, 1);
        let expected = format!(
            "constraints: expected an allowed path of {length} steps, the length of sequence 2, got none"
        );
        assert_eq!(says(crf.viterbi(&x)), expected);
        assert_eq!(says(crf.marginals(&x)), expected);
        assert_eq!(says(crf.log_partitions(&x)), expected);
    }
}

#[test]
fn constraints_that_do_not_fit_are_refused() {
    let yes = |n: usize| Array1::from_elem(n, true);
    let table = |n: usize| Array2::from_elem((n, n), true);
    let new = |start: usize, end: usize, pairs: usize| {
        says(Constraints::new(yes(start), yes(end), table(pairs)))
    };
    assert_eq!(new(0, 0, 0), "start: expected at least 1, got 0");
    assert_eq!(new(2, 3, 2), "end: expected [2] (tags), got [3]");
    assert_eq!(new(2, 2, 3), "transitions: expected [2, 2] (tags, tags), got [3, 3]");
    assert_eq!(
        says(Constraints::new(array![false], yes(1), table(1))),
        "start: expected at least one tag that is allowed, got none"
    );
    assert_eq!(
        says(crf(3, 1.0, 1).constraints(Constraints::iob2(&["O", "B-X"]).unwrap())),
        "constraints: expected [3] (tags), got [2]"
    );
    assert_eq!(
        says(Constraints::iob2(&["O", "E-X"])),
        "names[1]: expected O, or B or I with a type, such as B-PER, got E-X"
    );
    for name in ["", "B-", "O-X", "-X", "BI-X", "o", "X-Y", "Ö-X"] {
        assert!(Constraints::of(Scheme::Bioes, &["O", name]).is_err(), "{name}");
    }
    assert_eq!(says(Crf::<f64>::new(0, &mut super::rng(1))), "tags: expected at least 1, got 0");
    let x = emissions(&[1], 3, 1.0, 1);
    assert_eq!(says(crf(3, 1.0, 1).k_best(&x, 0)), "k: expected at least 1, got 0");
}

/// The tables of both schemes, by their rules in words.
#[test]
fn schemes_allow_what_their_definitions_allow() {
    let names = ["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y"];
    let bioes = Constraints::bioes(&names).unwrap();
    let tag = |name: &str| names.iter().position(|other| *other == name).unwrap();
    for from in names {
        for to in names {
            let opens = |name: &str| name.starts_with('B') || name.starts_with('I');
            let inside = to.starts_with('I') || to.starts_with('E');
            let expected = if opens(from) { inside && from[1..] == to[1..] } else { !inside };
            assert_eq!(bioes.may_follow(tag(from), tag(to)), expected, "{from} {to}");
        }
        assert_eq!(bioes.may_start(tag(from)), !"IE".contains(&from[..1]), "{from}");
        assert_eq!(bioes.may_end(tag(from)), !"BI".contains(&from[..1]), "{from}");
    }
    let names = ["O", "B-X", "I-X", "B-a-b", "I-a-b"];
    let iob2 = Constraints::iob2(&names).unwrap();
    for (i, from) in names.iter().enumerate() {
        for (j, to) in names.iter().enumerate() {
            let expected = !to.starts_with('I') || (*from != "O" && from[1..] == to[1..]);
            assert_eq!(iob2.may_follow(i, j), expected, "{from} {to}");
        }
        assert_eq!((iob2.may_start(i), iob2.may_end(i)), (!from.starts_with('I'), true));
    }
    assert!(!iob2.may_start(9) && !iob2.may_end(9) && !iob2.may_follow(0, 9));
}

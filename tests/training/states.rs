//! States of layers of different widths: by name, layer and direction, and in files.

use ndarray::{Array2, Array3, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{ProjectedLstmCell, ProjectedLstmOptions};
use recurrent::{Arrays, Lstm, Recurrent, Result, Sequences, io};

use crate::common::random::random;
use crate::common::temporary::Folder;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(9)
}

fn says<V: std::fmt::Debug>(result: Result<V>) -> String {
    result.unwrap_err().to_string()
}

fn network() -> Lstm<f64> {
    let builder = Lstm::builder(3, 8).hidden_sizes(&[4, 2]).bidirectional(true);
    builder.build(&mut rng()).unwrap()
}

#[test]
fn parts_of_different_widths_are_set_and_read_by_name() {
    let net = network();
    let mut state = net.zero_state(3).unwrap();
    for (layer, width) in [(0, 4), (1, 2)] {
        for (name, reverse) in [("h", false), ("h", true), ("c", false), ("c", true)] {
            let seed = layer as u64 * 4 + u64::from(reverse);
            let values = random((1, 3, width), seed).index_axis_move(Axis(0), 0);
            state.set_part(name, layer, reverse, values.view()).unwrap();
            assert_eq!(state.part(name, layer, reverse).unwrap(), values);
        }
    }
    assert_eq!(state.names()[..3], ["h_l0", "c_l0", "h_l0_reverse"]);
    let x = Sequences::full(random((4, 3, 3), 1)).unwrap();
    let (from_zero, _) = net.forward(&x, None).unwrap();
    assert_ne!(net.forward(&x, Some(&state)).unwrap().0, from_zero, "every part is used");
}

#[test]
fn a_part_that_does_not_fit_changes_nothing() {
    let mut state = network().zero_state(3).unwrap();
    let before = state.clone();
    let mut set = |name: &str, layer, reverse, shape| {
        let message = says(state.set_part(name, layer, reverse, Array2::ones(shape).view()));
        assert_eq!(state, before);
        message
    };
    assert_eq!(set("h", 1, true, (3, 4)), "h: expected [3, 2] (batch, width), got [3, 4]");
    assert_eq!(set("c", 0, false, (2, 4)), "c: expected [3, 4] (batch, width), got [2, 4]");
    assert_eq!(set("z", 0, false, (3, 4)), "name: expected one of [\"h\", \"c\"], got z");
    for layer in [2, usize::MAX] {
        let expected = format!("layer: expected one of 4 layers × directions, got layer {layer}");
        assert_eq!(set("h", layer, false, (3, 4)), format!("{expected}, reverse false"));
    }
    let one = Lstm::<f64>::builder(3, 8).hidden_sizes(&[4, 2]).build(&mut rng()).unwrap();
    let mut state = one.zero_state(3).unwrap();
    let message = says(state.set_part("h", 0, true, Array2::ones((3, 4)).view()));
    assert!(message.starts_with("layer: expected one of 2 layers × directions"), "{message}");
}

#[test]
fn one_array_for_layers_of_different_widths_is_refused_with_the_widths() {
    let mut state = network().zero_state(3).unwrap();
    let expected = "layers: expected layers of equal width, got widths [4, 4, 2, 2]";
    assert_eq!(says(state.get("h")), expected);
    assert_eq!(says(state.set("c", Array3::ones((4, 3, 4)))), expected);
    // The outputs of a projection are narrower than the cell states.
    let builder = Recurrent::<ProjectedLstmCell<f64>>::builder(3, 5).num_layers(2);
    let net = builder.options(ProjectedLstmOptions::new(2)).build(&mut rng()).unwrap();
    let mut state = net.zero_state(3).unwrap();
    state.set("h", Array3::ones((2, 3, 2))).unwrap();
    state.set("c", Array3::ones((2, 3, 5))).unwrap();
    assert_eq!(state.get("c").unwrap().dim(), (2, 3, 5));
}

#[test]
fn a_state_of_different_widths_returns_from_a_file() {
    let (net, file) = (network(), Folder::new("state-widths"));
    let x = Sequences::new(random((4, 3, 3), 1), vec![4, 0, 2]).unwrap();
    let (_, last) = net.forward(&x, None).unwrap();
    io::save(file.0.join("file"), &last).unwrap();
    let mut again = net.zero_state(3).unwrap();
    io::load(file.0.join("file"), &mut again).unwrap();
    assert_eq!(again, last);
}

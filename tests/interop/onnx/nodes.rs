//! Whole files of other programs.

use super::fixtures::{cases, check, load};

#[test]
fn the_node_tests_of_onnx_pass() {
    let cases = cases("onnx_nodes");
    let official: Vec<_> = cases.iter().filter(|(name, _)| name.starts_with("test_")).collect();
    assert_eq!(official.len(), 18);
    for (name, case) in official {
        let difference = check(case).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name} {difference:.1e}");
        assert!(difference < 1e-6, "{name}: {difference}");
    }
}

#[test]
fn every_setting_of_the_recurrent_operators_agrees_with_onnxruntime() {
    let cases = cases("onnx_nodes");
    let settings: Vec<_> = cases.iter().filter(|(name, _)| name.starts_with("set_")).collect();
    assert!(settings.len() > 25, "{}", settings.len());
    for (name, case) in settings {
        let difference = check(case).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name} {difference:.1e}");
        assert!(difference < 2e-6, "{name}: {difference}");
    }
}

#[test]
fn modules_by_both_exporters_of_pytorch_agree_with_pytorch() {
    let cases = cases("onnx_exports");
    assert_eq!(cases.len(), 14);
    for (name, case) in cases {
        let difference = check(&case).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name} {difference:.1e}");
        assert!(difference < 1e-6, "{name}: {difference}");
    }
}

#[test]
fn lstms_of_keras_agree_with_keras_and_loops_are_refused() {
    let cases = cases("onnx_keras");
    for name in ["lstm_one", "lstm_both"] {
        let difference = check(&cases[name]).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name} {difference:.1e}");
        assert!(difference < 1e-6, "{name}: {difference}");
    }
    let error = load(&cases["gru_loop"].model).unwrap_err().to_string();
    assert!(error.contains("(Loop)"), "{error}");
}

//! The examples in a quick form: that they run, learn in the first few steps, and give the figure that they promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

use kiln::prelude::*;

#[path = "../examples/cancer.rs"]
mod cancer;
#[path = "../examples/chars.rs"]
mod chars;
#[path = "../examples/custom_op.rs"]
mod custom_op;
#[path = "../examples/grammar.rs"]
mod grammar;
#[path = "../examples/karate.rs"]
mod karate;
#[path = "../examples/markov.rs"]
mod markov;
#[path = "../examples/residual.rs"]
mod residual;
#[path = "../examples/vae.rs"]
mod vae;

fn device() -> Device {
    Device::open().unwrap()
}

#[test]
fn residual_learns() {
    let right = residual::run(&device(), 1, true).unwrap();
    assert!((0.8..=1.0).contains(&right), "{right}");
}

/// After a tenth of the steps it guesses more than half; nobody can beat the rules by more than chance.
#[test]
fn grammar_learns_and_no_more_than_there_is() {
    let gap = grammar::run(&device(), 1, true).unwrap();
    assert!((-0.25..0.01).contains(&gap), "{gap}");
}

/// A model that knew nothing would be ln 5 less the entropy rate away, about 0.4.
#[test]
fn markov_learns_and_no_more_than_there_is() {
    let gap = markov::run(&device(), 42, true).unwrap();
    assert!((-0.4..0.02).contains(&gap), "{gap}");
}

#[test]
fn chars_learns_and_writes() {
    let gain = chars::run(&device(), 1, true).unwrap();
    assert!((-1.5..1.0).contains(&gain), "{gain}"); // ln 61 is 1.7 from the table
}

#[test]
fn karate_reaches_its_bar_from_two_seeds() {
    assert_eq!(karate::run(&device(), 0, true).unwrap(), 1.0);
}

#[test]
fn cancer_reaches_nearly_its_bar_in_one_fold() {
    let right = cancer::run(&device(), 1, true).unwrap();
    assert!((0.93..=1.0).contains(&right), "{right}");
}

#[test]
fn vae_learns_and_draws() {
    let (bound, picture) = vae::draw(&device(), 1, true).unwrap();
    assert!((-33.0..-13.7).contains(&bound), "{bound}");
    assert!(picture.starts_with("<svg") && picture.matches("<rect").count() > 500 && !picture.contains("NaN"));
}

#[test]
fn a_custom_operation_has_the_gradient_that_its_values_have() {
    let (error, loss) = custom_op::run(&device(), 1, true).unwrap();
    assert!(error < 1e-3 && loss < 10.0, "{error}, {loss}");
}

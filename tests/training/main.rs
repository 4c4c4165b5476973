//! Tests of layers, losses, optimisers, data, models and the training loop.
//!
//! They are one program, so that shared code is compiled once.

mod answers;
mod built_in;
mod columns;
mod compose;
mod data;
mod formats;
mod layers;
mod layers_losses;
mod learning;
mod losses;
mod models;
mod optimizers;
mod optional;
mod options;
mod pools;
mod prepare;
mod ragged;
mod reports;
mod rules;
mod sampling;
mod scaling;
mod schedules;
mod scores;
mod states;
mod step_gradients;
mod train;
mod unaligned;

#[path = "../common"]
mod common {
    pub(crate) mod bits;
    pub(crate) mod distance;
    pub(crate) mod fixture;
    pub(crate) mod padding;
    pub(crate) mod random;
}

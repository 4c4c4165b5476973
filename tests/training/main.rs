//! Tests of layers, losses, optimisers, data, models and the training loop.
//!
//! They are one program, so that shared code is compiled once.

mod answers;
mod batch_first;
mod built_in;
mod columns;
mod compose;
mod data;
mod formats;
mod layers;
mod layers_losses;
mod learning;
mod losses;
mod missing;
mod models;
mod optimizers;
mod optional;
mod prepare;
mod reports;
mod rules;
mod scaling;
mod schedules;
mod scores;
mod splits;
mod tables;
mod times;
mod train;
mod unaligned;
mod windows;

#[path = "../common"]
mod common {
    pub(crate) mod bits;
    pub(crate) mod distance;
    pub(crate) mod fixture;
    pub(crate) mod padding;
    pub(crate) mod random;
}

//! Tests of layers, losses, optimisers, data, models and the training loop.
//!
//! They are one program, so that shared code is compiled once.

mod abandoned;
mod answers;
mod batch_first;
mod built_in;
mod columns;
mod compose;
mod damaged;
mod data;
mod distributed;
mod extremes;
mod files;
mod formats;
mod given_weights;
mod layers;
mod layers_losses;
mod learning;
mod losses;
mod merged_scores;
mod missing;
mod models;
mod nothing_counts;
mod npy;
mod optim_limits;
mod optimizers;
mod optional;
mod options;
mod places;
mod pools;
mod prepare;
mod quantiles;
mod ragged;
mod reduced;
mod reports;
mod row_losses;
mod rule_options;
mod rules;
mod sampling;
mod scalers;
mod scaling;
mod schedule_ends;
mod schedules;
mod scores;
mod shared;
mod shortcuts;
mod splits;
mod states;
mod step_gradients;
mod stopping;
mod tables;
mod times;
mod train;
mod trainer_options;
mod unaligned;
mod weighting;
mod windows;
mod words;

#[path = "../common"]
mod common {
    pub(crate) mod bits;
    pub(crate) mod distance;
    pub(crate) mod fixture;
    pub(crate) mod padding;
    pub(crate) mod random;
    pub(crate) mod temporary;
}

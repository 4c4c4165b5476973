//! The score of a training: the F1 of entities.

use ndarray::Array2;
use rand::Rng;
use recurrent::train::Model;
use recurrent::train::metrics::SpanMetrics;
use recurrent::{Result, Sequences};

use crate::Tagger;

/// A tagger that is scored by the F1 of its entities, so that early stopping watches it. The likelihood of
/// the tags gets worse long before.
#[derive(Clone, Debug)]
pub(crate) struct BySpans(pub(crate) Tagger);
recurrent::arrays!([] BySpans: f32 { ..0 });

impl Model for BySpans {
    type Batch = (Sequences<f32>, Array2<usize>);
    type Score = SpanMetrics;

    fn loss_and_grad(
        &self,
        batch: &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<f64> {
        self.0.loss_and_grad(batch, &mut grad.0, rng)
    }

    fn weighted_loss_and_grad(
        &self,
        batch: &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        self.0.weighted_loss_and_grad(batch, &mut grad.0, rng)
    }

    fn score_batch(&self, (x, classes): &Self::Batch, score: &mut SpanMetrics) -> Result<()> {
        let name = |&class: &usize| &self.0.labels()[class];
        for (b, found) in self.0.predict_labels(x)?.iter().enumerate() {
            let tags: Vec<&String> = classes.column(b).iter().take(found.len()).map(name).collect();
            score.add(&tags, found)?;
        }
        Ok(())
    }

    fn options(&self) -> String {
        self.0.options()
    }
}

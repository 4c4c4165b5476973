//! [`locate`]: the sample, step and feature that make a loss NaN or infinite.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::data::Source;
use crate::error::Error;
use crate::train::Model;

/// Returns `error`, that of the loss of the samples `indices` of `source`. If it is about a value that is
/// not finite, the returned error names the first of the following that is not finite: a value of a
/// sample, a weight of the model, the loss of a sample alone.
pub(super) fn locate<M: Model>(
    error: Error,
    model: &M,
    source: &dyn Source<M::Batch>,
    indices: &[usize],
) -> Error {
    if !is_about_a_value(&error) {
        return error;
    }
    let mut samples = indices.to_vec();
    samples.sort_unstable();
    for &sample in &samples {
        if let Err(found) = source.check_finite(sample) {
            return found.prefixed(&format!("sample {sample}, "));
        }
    }
    if let Err(found) = model.check_finite() {
        return found;
    }
    let alone = samples.iter().find_map(|&sample| Some((sample, loss_of(model, source, sample)?)));
    match alone {
        Some((sample, value)) => {
            Error::NonFinite { name: format!("loss of sample {sample}"), index: 0, value }
        }
        None => error,
    }
}

/// Returns whether the error is about a value that is not finite.
fn is_about_a_value(error: &Error) -> bool {
    match error {
        Error::NonFinite { .. } => true,
        Error::Argument { got, .. } => got.parse::<f64>().is_ok_and(|value| !value.is_finite()),
        _ => false,
    }
}

/// Returns the loss of a sample, if it is not finite.
fn loss_of<M: Model>(model: &M, source: &dyn Source<M::Batch>, sample: usize) -> Option<f64> {
    let batch = source.batch(&[sample]).ok()?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let loss = match model.loss_and_grad(&batch, &mut model.zeros_like(), &mut rng) {
        Ok(loss) => loss,
        Err(Error::NonFinite { value, .. }) => value,
        Err(_) => return None,
    };
    (!loss.is_finite()).then_some(loss)
}

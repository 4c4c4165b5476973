//! Metrics of classification, regression, language models and text. Each is a [`Score`](crate::train::Score).
//! Metrics of classification, regression, language models and transcription. Each is a [`Score`](crate::train::Score).
//!
//! ```text
//! precision = correct / predicted  recall = correct / actual     F1 = 2·precision·recall / (precision + recall)
//! RMSE = √mean e²      MAE = mean |e|      MAPE = 100·mean |e / y|      MASE = MAE / MAE of the seasonal naive forecast
//! perplexity = e^L     bits = L / ln 2     with L the mean of −ln p
//! ```
//!
//! MASE: Hyndman and Koehler, *Another look at measures of forecast accuracy*, 2006.
//!
//! A figure does not depend on the division of the samples into batches. Where a figure is not defined:
//!
//! | case | answer |
//! |---|---|
//! | a mean over no samples: loss, accuracy, RMSE, perplexity, … | NaN |
//! | precision without predictions of the class, recall without samples of it, F1 without either | 0 |
//! | the macro average | over the classes that occur as truth or prediction; 0 if there is none |
//! | the label error rate without labels | NaN |
//! | a NaN logit | an error |
//! | a NaN forecast, target or loss | NaN |
//! | MAPE with a target of 0 | infinite, unless the forecast is 0 too, which is an error of 0 |
//! | MASE over a constant series | infinite, or NaN if the forecasts are exact |
//! | an error rate where no reference has a token | infinite, or NaN without insertions |
//! | BLEU or chrF without a match | 0 |
//! | a hypothesis without references | an error |
//!
//! | file | contents |
//! |---|---|
//! | `classification` | [`ClassificationMetrics`], [`PrecisionRecallF1`] |
//! | `regression` | [`RegressionMetrics`], [`seasonal_error`] |
//! | `spans` | [`SpanMetrics`]: entities as spans of steps, from tags; [`SpanMode`] |
//! | `perplexity` | [`Perplexity`] |
//! | [`text`] | [`ErrorRate`], [`BleuScore`], [`ChrfScore`], [`ExactMatch`] |
//! | `transcription` | [`TranscriptionMetrics`] |
//! | `mean` | the mean of means over batches |

mod classification;
mod mean;
mod perplexity;
mod regression;
mod spans;
pub mod text;
mod transcription;

pub use classification::{ClassificationMetrics, PrecisionRecallF1};
pub(crate) use mean::Mean;
pub use perplexity::Perplexity;
pub use regression::{RegressionMetrics, seasonal_error};
pub use spans::{Span, SpanMetrics, SpanMode, spans_of};
pub use text::{
    Alignment, Bleu, BleuScore, BleuSmoothing, BleuTokenizer, Chrf, ChrfScore, Edit, ErrorRate,
    ExactMatch,
};
pub use transcription::TranscriptionMetrics;

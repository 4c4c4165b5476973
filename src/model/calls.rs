//! The calls that every model has: `with_loss!` and `shape_calls!`.

/// Implements [`WithLoss`] for a model whose loss compares `$predicted` with `$target`, and the method that
/// returns this loss, `$loss` of the model's own options. `$with` replaces the objective in them.
macro_rules! with_loss {
    (
        $model:ident, $predicted:ty => $target:ty, $($loss:ident).+,
        |$own:pat_param, $objective:ident| $with:expr
    ) => {
        impl<T, C, L, N> $crate::model::config::WithLoss<N> for $model<C, L>
        where
            T: $crate::Float,
            C: $crate::cell::Cell<Elem = T>,
            L: $crate::model::Scored<$predicted, Target = $target>,
            N: $crate::model::Scored<$predicted, Target = $target>,
        {
            type With = $model<C, N>;

            fn with_loss($own: Self::Own, loss: N) -> <$model<C, N> as Shape>::Own {
                let $objective = $crate::model::scored::Objective::new(loss);
                $with
            }
        }

        impl<T, C, L> $model<C, L>
        where
            T: $crate::Float,
            C: $crate::cell::Cell<Elem = T>,
            L: $crate::model::Scored<$predicted, Target = $target>,
        {
            /// Returns the loss.
            pub fn loss(&self) -> &L {
                &self.config.own.$($loss).+
            }
        }
    };
}
pub(super) use with_loss;

/// Implements the methods that all models share, and [`Arrays`] by the fields `$body`, without a prefix, and
/// `$more`. `$loss` is the parameter of the loss with its bounds, `$own` the parameter alone, `$network`
/// the path of the network.
macro_rules! shape_calls {
    ([$($loss:tt)*] $model:ty, [$($own:ty)?], $($network:ident).+, $body:ident $(, $more:ident)?) => {
        impl<T: $crate::Float, C: $crate::cell::Cell<Elem = T>, $($loss)*> $model {
            /// Returns the embedding of tokens, if there is one.
            pub fn embedding(&self) -> Option<&$crate::layer::Embedding<T>> {
                self.$($network).+.embedding.as_ref()
            }

            /// Returns the recurrent layers.
            pub fn recurrent(&self) -> &$crate::Recurrent<C> {
                &self.$($network).+.recurrent
            }

            /// Returns the last linear layer.
            pub fn head(&self) -> &$crate::layer::Linear<T> {
                &self.$($network).+.head
            }

            /// Returns the vocabulary of the input, if one was set.
            pub fn vocabulary(&self) -> Option<&$crate::data::Vocabulary> {
                self.config.vocabulary.as_ref()
            }

            /// Returns the vocabulary of the characters of tokens, if the model reads them.
            pub fn character_vocabulary(&self) -> Option<&$crate::data::Vocabulary> {
                self.config.characters.as_ref().map(|characters| &characters.vocabulary)
            }

            /// Returns the scaler of the input, if one was set.
            pub fn scaler(&self) -> Option<&$crate::data::Scaler> {
                self.config.scaler.as_ref()
            }

            /// Returns the names of the input features, in order; empty if none were set.
            pub fn columns(&self) -> &[String] {
                self.config.columns.as_deref().unwrap_or(&[])
            }

            /// Encodes `texts` as input, by the model's vocabulary.
            ///
            /// # Errors
            /// If the model has no vocabulary, a text is empty, or a text contains a token that is not in a
            /// vocabulary without an unknown token.
            pub fn encode_texts<S: AsRef<str>>(
                &self,
                texts: &[S],
            ) -> $crate::Result<$crate::Sequences<T>> {
                $crate::model::encoded(self.vocabulary(), self.config.characters.as_ref(), texts)
            }

            /// Returns the names of the outputs, in order; empty if none were set.
            pub fn labels(&self) -> &[String] {
                self.config.labels.as_deref().unwrap_or(&[])
            }

            /// Writes the weights, the configuration, and the vocabulary, scaler and names, if there are
            /// any, to one file, as [`io::save`](crate::io::save) does.
            ///
            /// # Errors
            /// [`Error::Io`](crate::Error::Io) if the file cannot be written.
            pub fn save(&self, path: impl AsRef<std::path::Path>) -> $crate::Result<()>
            where
                C::Options: serde::Serialize,
                $($own: serde::Serialize,)?
            {
                self.save_with(path, $crate::tensor::Precision::Full)
            }

            /// Writes a smaller file, whose matrices have the given precision, as
            /// [`io::save_with`](crate::io::save_with) does.
            ///
            /// # Errors
            /// As for [`save`](Self::save), and if a weight is not finite or beyond the range of f32, unless
            /// the precision is full.
            pub fn save_with(
                &self,
                path: impl AsRef<std::path::Path>,
                precision: $crate::tensor::Precision,
            ) -> $crate::Result<()>
            where
                C::Options: serde::Serialize,
                $($own: serde::Serialize,)?
            {
                $crate::model::file::save(self, path.as_ref(), precision)
            }

            /// Reads a model from the file `path`. A model of
            /// [`BuiltInCell`](crate::model::BuiltInCell) reads a file of any cell of this crate.
            ///
            /// # Errors
            /// If the file cannot be read, or holds another kind of model, another cell, loss or element
            /// type, an unknown option, or weights that are not finite.
            pub fn load(path: impl AsRef<std::path::Path>) -> $crate::Result<Self>
            where
                C::Options: serde::Serialize + serde::de::DeserializeOwned,
                $($own: serde::Serialize + serde::de::DeserializeOwned,)?
            {
                $crate::model::file::load(path.as_ref())
            }
        }

        $crate::arrays!(
            [T: $crate::Float, C: $crate::cell::Cell<Elem = T>, $($loss)*] $model: T
            { ..$body $(, ..$more)? }
        );
    };
}
pub(super) use shape_calls;

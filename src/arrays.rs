//! [`Arrays`]: a named bundle of arrays. Parameters, gradients, optimiser moments, states and
//! inputs are all this, so one walk serves optimiser, clipping, saving, loading and checking.

use ndarray::{Array, ArrayViewD, ArrayViewMutD, Dimension};

use crate::error::{Error, Result};
use crate::float::Float;

/// What [`Arrays::for_each`] calls for each array with its name and values.
pub type Visit<'f, 'a, T> = dyn FnMut(&str, ArrayViewD<'a, T>) + 'f;
/// What [`Arrays::for_each_mut`] calls for each array with its name and values.
pub type VisitMut<'f, 'a, T> = dyn FnMut(&str, ArrayViewMutD<'a, T>) + 'f;

/// What [`Arrays::zip_mut`] calls for each array with its name, its values and those of the other.
pub type VisitPair<'f, T> = dyn FnMut(&str, ArrayViewMutD<'_, T>, ArrayViewD<'_, T>) + 'f;

/// A bundle of arrays, each with a name; two walks over it are all that an owner writes.
///
/// A gradient has the type of what it is the gradient of: `model.zeros_like()` is an empty
/// gradient of `model`. Both walks visit the same arrays in the same order, under names that are
/// unique within the bundle. An owner of several bundles prefixes their names ([`crate::arrays!`]).
///
/// ```
/// use ndarray::{Array1, Array2};
/// use recurrent::arrays::{Arrays, Visit, VisitMut};
/// use recurrent::Float;
///
/// #[derive(Clone)]
/// struct Affine<T> { weight: Array2<T>, bias: Array1<T> }
///
/// impl<T: Float> Arrays for Affine<T> {
///     type Elem = T;
///
///     fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
///         f("weight", self.weight.view().into_dyn());
///         f("bias", self.bias.view().into_dyn());
///     }
///     fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
///         f("weight", self.weight.view_mut().into_dyn());
///         f("bias", self.bias.view_mut().into_dyn());
///     }
/// }
///
/// let affine = Affine { weight: Array2::<f32>::ones((3, 2)), bias: Array1::zeros(3) };
/// assert_eq!(affine.names(), ["weight", "bias"]);
/// assert_eq!(affine.count(), 9);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a bundle of arrays",
    label = "`Arrays` is not implemented for `{Self}`",
    note = "`recurrent::arrays!({Self} {{ field, … }})` implements `Arrays` for a struct of bundles"
)]
pub trait Arrays: Clone {
    /// The type of the elements.
    type Elem: Float;

    /// Calls `f` with each array's name and a view of it.
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, Self::Elem>);

    /// Calls `f` with each array's name and a mutable view of it, in the order of
    /// [`for_each`](Arrays::for_each).
    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, Self::Elem>);

    /// The same bundle with every value zero.
    fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.fill(Self::Elem::from_f64(0.0));
        zeros
    }

    /// Sets every value.
    fn fill(&mut self, value: Self::Elem) {
        self.for_each_mut(&mut |_, mut array| array.fill(value));
    }

    /// The names of the arrays, in order.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.for_each(&mut |name, _| names.push(name.to_owned()));
        names
    }

    /// How many numbers the arrays hold together.
    fn count(&self) -> usize {
        let mut count = 0;
        self.for_each(&mut |_, array| count += array.len());
        count
    }

    /// Fails with [`Error::NonFinite`], naming the array, at the first NaN or infinity.
    fn check_finite(&self) -> Result<()> {
        let mut found = Ok(());
        self.for_each(&mut |name, array| {
            let bad = || array.iter().enumerate().find(|(_, value)| !value.as_f64().is_finite());
            if let (true, Some((index, value))) = (found.is_ok(), bad()) {
                found =
                    Err(Error::NonFinite { name: name.to_owned(), index, value: value.as_f64() });
            }
        });
        found
    }

    /// Calls `f` with each array of `self` and the array of `other` of the same name and shape, or
    /// fails with [`Error::Structure`], naming `argument` (which is `other`), before the first call.
    fn zip_mut(
        &mut self,
        argument: &'static str,
        other: &Self,
        f: &mut VisitPair<'_, Self::Elem>,
    ) -> Result<()> {
        check_same_structure(argument, self, other)?;
        let mut others = Vec::new();
        other.for_each(&mut |_, array| others.push(array));
        let mut others = others.into_iter();
        self.for_each_mut(&mut |name, array| {
            f(name, array, others.next().expect("as many arrays, as was checked"));
        });
        Ok(())
    }
}

/// Fails with [`Error::Structure`], naming `argument` (which is `got`), unless both bundles hold
/// arrays of the same names and shapes in the same order.
pub fn check_same_structure<T: Float, A: Arrays<Elem = T>>(
    argument: &'static str,
    expected: &A,
    got: &A,
) -> Result<()> {
    let shapes = |arrays: &A| {
        let mut shapes = Vec::new();
        arrays.for_each(&mut |name, array| shapes.push((name.to_owned(), array.shape().to_vec())));
        shapes
    };
    let (expected, got) = (shapes(expected), shapes(got));
    let show = |entry: Option<&(String, Vec<usize>)>| {
        entry.map_or("nothing".to_owned(), |(name, shape)| format!("{name} {shape:?}"))
    };
    match (0..expected.len().max(got.len())).find(|&i| expected.get(i) != got.get(i)) {
        None => Ok(()),
        Some(i) => Err(Error::Structure {
            argument,
            expected: show(expected.get(i)),
            got: show(got.get(i)),
        }),
    }
}

/// Whether `name` is what `pattern` says, in which `*` stands for anything, nothing included.
///
/// ```
/// use recurrent::arrays::matches;
///
/// assert!(matches("encoder.*_hh_*", "encoder.weight_hh_l0"));
/// assert!(!matches("weight_hh", "encoder.weight_hh_l0"));
/// ```
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(i, _)| i).chain([name.len()]);
            ends.into_iter().any(|i| matches(rest, &name[i..]))
        }),
    }
}

/// One array is a bundle of one, named `value`.
impl<T: Float, D: Dimension> Arrays for Array<T, D> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        f("value", self.view().into_dyn());
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        f("value", self.view_mut().into_dyn());
    }
}

/// What may be absent, such as a bias, is a bundle of its arrays or of none.
impl<T: Float, A: Arrays<Elem = T>> Arrays for Option<A> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        if let Some(arrays) = self {
            arrays.for_each(f);
        }
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        if let Some(arrays) = self {
            arrays.for_each_mut(f);
        }
    }
}

/// Implements [`Arrays`] for tuples of bundles, under the prefixes `0.`, `1.` and so on.
macro_rules! tuples {
    ($(($($bundle:ident $place:tt)+))+) => {$(
        impl<T: Float, $($bundle: Arrays<Elem = T>),+> Arrays for ($($bundle,)+) {
            type Elem = T;

            fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
                $(self.$place.for_each(&mut |name, array| {
                    f(&format!(concat!($place, ".{}"), name), array)
                });)+
            }

            fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
                $(self.$place.for_each_mut(&mut |name, array| {
                    f(&format!(concat!($place, ".{}"), name), array)
                });)+
            }
        }
    )+};
}

tuples! {
    (A 0 B 1)
    (A 0 B 1 C 2)
    (A 0 B 1 C 2 D 3)
    (A 0 B 1 C 2 D 3 E 4)
    (A 0 B 1 C 2 D 3 E 4 F 5)
}

/// Implements [`Arrays`] for a struct whose fields are bundles themselves.
///
/// Each field is listed in one of three ways. Fields that are not listed, such as options, have no
/// arrays.
///
/// | listed as | names of its arrays |
/// |---|---|
/// | `field` | the field's name, a dot, the array's own name |
/// | `..field` | the array's own name |
/// | `field: array` | the field's name, for a field that is one array, or an `Option` of one |
///
/// ```
/// use ndarray::{Array1, Array2};
/// use recurrent::{Arrays, Float, arrays};
///
/// #[derive(Clone)]
/// struct Affine<T> { weight: Array2<T>, bias: Option<Array1<T>>, inputs: usize }
/// arrays!(Affine { weight: array, bias: array });
///
/// #[derive(Clone)]
/// struct Model<T> { encoder: Affine<T>, decoder: Affine<T> }
/// arrays!(Model { ..encoder, decoder });
///
/// let affine = Affine { weight: Array2::<f64>::zeros((2, 3)), bias: None, inputs: 3 };
/// let model = Model { encoder: affine.clone(), decoder: affine };
/// assert_eq!(model.names(), ["weight", "decoder.weight"]);
/// assert_eq!(model.encoder.inputs, 3);
/// ```
///
/// A struct whose only parameter is not its element type names its parameters, its type and the type
/// of the elements:
///
/// ```
/// use recurrent::cell::{Cell, LstmCell};
/// use recurrent::layer::Linear;
/// use recurrent::{Arrays, Float, Recurrent, arrays};
///
/// #[derive(Clone)]
/// struct Plain { head: Linear<f32> }
/// arrays!([] Plain: f32 { head });
///
/// #[derive(Clone)]
/// struct Tagger<C: Cell> { layers: Recurrent<C>, head: Linear<C::Elem> }
/// arrays!([T: Float, C: Cell<Elem = T>] Tagger<C>: T { layers, head });
/// # fn is_bundle<A: Arrays>() {}
/// # is_bundle::<Plain>();
/// # is_bundle::<Tagger<LstmCell<f64>>>();
/// ```
#[macro_export]
macro_rules! arrays {
    (@walk $call:ident $f:ident ($($of:tt)+)) => {};
    (@walk $call:ident $f:ident ($($of:tt)+) .. $field:tt $(, $($rest:tt)*)?) => {
        $crate::Arrays::$call($($of)+.$field, $f);
        $crate::arrays!(@walk $call $f ($($of)+) $($($rest)*)?);
    };
    (@walk $call:ident $f:ident ($($of:tt)+) $field:tt : array $(, $($rest:tt)*)?) => {
        $crate::Arrays::$call($($of)+.$field, &mut |_, array| $f(stringify!($field), array));
        $crate::arrays!(@walk $call $f ($($of)+) $($($rest)*)?);
    };
    (@walk $call:ident $f:ident ($($of:tt)+) $field:tt $(, $($rest:tt)*)?) => {
        $crate::Arrays::$call($($of)+.$field, &mut |name, array| {
            $f(&format!(concat!(stringify!($field), ".{}"), name), array)
        });
        $crate::arrays!(@walk $call $f ($($of)+) $($($rest)*)?);
    };
    ([$($parameters:tt)*] $bundle:ty : $elem:ty { $($fields:tt)* }) => {
        impl<$($parameters)*> $crate::Arrays for $bundle {
            type Elem = $elem;

            #[allow(unused_variables, reason = "a bundle may have no arrays")]
            fn for_each<'a>(&'a self, f: &mut $crate::arrays::Visit<'_, 'a, $elem>) {
                $crate::arrays!(@walk for_each f (&self) $($fields)*);
            }

            #[allow(unused_variables, reason = "a bundle may have no arrays")]
            fn for_each_mut<'a>(&'a mut self, f: &mut $crate::arrays::VisitMut<'_, 'a, $elem>) {
                $crate::arrays!(@walk for_each_mut f (&mut self) $($fields)*);
            }
        }
    };
    ($bundle:ident { $($fields:tt)* }) => {
        $crate::arrays!([T: $crate::Float] $bundle<T>: T { $($fields)* });
    };
}

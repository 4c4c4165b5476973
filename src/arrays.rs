//! [`Arrays`]: a named bundle of arrays. Parameters, gradients, optimiser moments, states and inputs are
//! bundles, so optimisers, clipping, saving, loading and gradient checks all iterate in the same way.

use ndarray::{Array, ArrayBase, ArrayViewD, ArrayViewMutD, Data, Dimension, IxDyn, RawData};

use crate::error::{Error, Result, check_shape};
use crate::float::{Float, per_float};

/// The function that [`Arrays::for_each`] calls with the name and values of each array.
pub type Visit<'f, 'a, T> = dyn FnMut(&str, ArrayViewD<'a, T>) + 'f;
/// The function that [`Arrays::for_each_mut`] calls with the name and values of each array.
pub type VisitMut<'f, 'a, T> = dyn FnMut(&str, ArrayViewMutD<'a, T>) + 'f;

/// The function that [`Arrays::zip_mut`] calls with the name of each array, its values and those of the
/// other bundle.
pub type VisitPair<'f, T> = dyn FnMut(&str, ArrayViewMutD<'_, T>, ArrayViewD<'_, T>) + 'f;

/// A bundle of arrays, each with a name. An implementation consists of two iterations over the arrays.
///
/// A gradient has the type of its parameters: `model.zeros_like()` is a zero gradient of `model`. Both
/// iterations visit the same arrays in the same order, under names that are unique within the bundle. A
/// bundle of several bundles prefixes their names ([`crate::arrays!`]).
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

    /// Returns a copy of the bundle with all values zero.
    fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.fill(Self::Elem::from_f64(0.0));
        zeros
    }

    /// Sets all values to `value`.
    fn fill(&mut self, value: Self::Elem) {
        self.for_each_mut(&mut |_, array| fill_one(array, value));
    }

    /// Returns the names of the arrays, in order.
    fn names(&self) -> Vec<String> {
        names_of(views(self))
    }

    /// Returns the number of values of all arrays together.
    fn count(&self) -> usize {
        count_of(views(self))
    }

    /// Fails with [`Error::NonFinite`], naming the array, at the first NaN or infinity.
    fn check_finite(&self) -> Result<()> {
        check_all_finite(&views(self))
    }

    /// Replaces the values of the array `name`, for example by weights that were trained elsewhere.
    ///
    /// ```
    /// use ndarray::{Array2, array};
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::{Arrays, Gru};
    ///
    /// let mut gru = Gru::<f64>::builder(2, 1).build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// gru.set("weight_ih_l0", array![[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])?;
    /// let wide = gru.set("weight_hh_l0", Array2::zeros((3, 2))).unwrap_err();
    /// assert_eq!(wide.to_string(), "weight_hh_l0: expected [3, 1] (as in the bundle), got [3, 2]");
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no array of this name, `values` has another shape, or a value is not finite. Nothing
    /// is changed then.
    fn set<S: Data<Elem = Self::Elem>, D: Dimension>(
        &mut self,
        name: &str,
        values: ArrayBase<S, D>,
    ) -> Result<()> {
        set_array(views_mut(self), name, values.view().into_dyn())
    }

    /// Calls `f` with each array of `self` and the corresponding array of `other`. If names or shapes
    /// differ, fails with [`Error::Structure`] before the first call. The error calls `other` by
    /// `argument`.
    fn zip_mut(
        &mut self,
        argument: &'static str,
        other: &Self,
        f: &mut VisitPair<'_, Self::Elem>,
    ) -> Result<()> {
        zip_all(argument, views_mut(self), views(other), f)
    }

    /// Adds the values of `other`, or fails with [`Error::Structure`], naming `argument` (which is
    /// `other`), and adds nothing.
    fn add_arrays(&mut self, argument: &'static str, other: &Self) -> Result<()> {
        self.zip_mut(argument, other, &mut |_, sum, values| add_one(sum, values))
    }
}

/// Arrays with their names, in the order of [`Arrays::for_each`].
pub(crate) type Views<'a, T> = Vec<(String, ArrayViewD<'a, T>)>;
/// Mutable arrays with their names, in the order of [`Arrays::for_each`].
pub(crate) type ViewsMut<'a, T> = Vec<(String, ArrayViewMutD<'a, T>)>;

/// Collects the arrays of a bundle. Functions on the result need not be generic over the bundle.
pub(crate) fn views<T: Float, A: Arrays<Elem = T>>(arrays: &A) -> Views<'_, T> {
    let mut views = Vec::new();
    arrays.for_each(&mut collect(&mut views));
    views
}

/// Collects the arrays of a bundle, mutably.
pub(crate) fn views_mut<T: Float, A: Arrays<Elem = T>>(arrays: &mut A) -> ViewsMut<'_, T> {
    let mut views = Vec::new();
    arrays.for_each_mut(&mut collect_mut(&mut views));
    views
}

fn collect<'v, 'a, T: Float>(
    views: &'v mut Views<'a, T>,
) -> impl FnMut(&str, ArrayViewD<'a, T>) + use<'v, 'a, T> {
    |name, array| push(views, name, array)
}

fn collect_mut<'v, 'a, T: Float>(
    views: &'v mut ViewsMut<'a, T>,
) -> impl FnMut(&str, ArrayViewMutD<'a, T>) + use<'v, 'a, T> {
    |name, array| push_mut(views, name, array)
}

per_float! {
    fn push<'a, T>(views: &mut Views<'a, T>, name: &str, array: ArrayViewD<'a, T>) = push_one;
    fn push_mut<'a, T>(views: &mut ViewsMut<'a, T>, name: &str, array: ArrayViewMutD<'a, T>) = push_one_mut;
    fn add_one<'a, T>(sum: ArrayViewMutD<'a, T>, values: ArrayViewD<'a, T>) = add;
    fn fill_one<'a, T>(array: ArrayViewMutD<'a, T>, value: T) = fill;
    fn names_of<'a, T>(views: Views<'a, T>) -> Vec<String> = names_of_each;
    fn count_of<'a, T>(views: Views<'a, T>) -> usize = count_of_each;
    /// Fails at the first NaN or infinity, naming its array.
    pub(crate) fn check_all_finite<'a, T>(views: &[(String, ArrayViewD<'a, T>)]) -> Result<()> = check_each_finite;
    fn set_array<'a, T>(
        arrays: ViewsMut<'_, T>,
        name: &str,
        values: ArrayViewD<'a, T>,
    ) -> Result<()> = set_one;
    fn zip_all<'a, T>(
        argument: &'static str,
        to: ViewsMut<'a, T>,
        from: Views<'a, T>,
        f: &mut VisitPair<'_, T>,
    ) -> Result<()> = zip_each;
    /// Multiplies every value by `factor`.
    pub(crate) fn scale_all<'a, T>(views: ViewsMut<'a, T>, factor: T) = scale_each;
    /// Fails with [`Error::Structure`] unless both hold arrays of the same names and shapes.
    pub(crate) fn check_structure<'a, T>(
        argument: &'static str,
        expected: &[(String, ArrayViewD<'a, T>)],
        got: &[(String, ArrayViewD<'a, T>)],
    ) -> Result<()> = check_each_structure;
}

fn push_one<'a, T: Float>(views: &mut Views<'a, T>, name: &str, array: ArrayViewD<'a, T>) {
    views.push((name.to_owned(), array));
}

fn push_one_mut<'a, T: Float>(
    views: &mut ViewsMut<'a, T>,
    name: &str,
    array: ArrayViewMutD<'a, T>,
) {
    views.push((name.to_owned(), array));
}

fn add<T: Float>(mut sum: ArrayViewMutD<'_, T>, values: ArrayViewD<'_, T>) {
    sum += &values;
}

fn fill<T: Float>(mut array: ArrayViewMutD<'_, T>, value: T) {
    array.fill(value);
}

fn names_of_each<T: Float>(views: Views<'_, T>) -> Vec<String> {
    views.into_iter().map(|(name, _)| name).collect()
}

fn count_of_each<T: Float>(views: Views<'_, T>) -> usize {
    views.iter().map(|(_, array)| array.len()).sum()
}

fn scale_each<T: Float>(views: ViewsMut<'_, T>, factor: T) {
    views.into_iter().for_each(|(_, mut array)| array.mapv_inplace(|value| value * factor));
}

fn check_each_finite<T: Float>(views: &[(String, ArrayViewD<'_, T>)]) -> Result<()> {
    for (name, array) in views {
        if let Some((index, value)) = array.iter().enumerate().find(|(_, value)| !value.is_finite())
        {
            return Err(Error::NonFinite { name: name.clone(), index, value: value.as_f64() });
        }
    }
    Ok(())
}

fn set_one<T: Float>(
    mut arrays: ViewsMut<'_, T>,
    name: &str,
    values: ArrayViewD<'_, T>,
) -> Result<()> {
    let Some(place) = arrays.iter().position(|(array, _)| array == name) else {
        let names: Vec<&String> = arrays.iter().map(|(name, _)| name).collect();
        return Err(Error::argument("name", format!("one of {names:?}"), name));
    };
    let (name, array) = &mut arrays[place];
    check_shape(name.clone(), "as in the bundle", array.shape(), values.shape())?;
    check_each_finite(&[(name.clone(), values.view())])?;
    array.assign(&values);
    Ok(())
}

fn zip_each<'a, T: Float>(
    argument: &'static str,
    to: ViewsMut<'a, T>,
    from: Views<'a, T>,
    f: &mut VisitPair<'_, T>,
) -> Result<()> {
    check_shapes(argument, &shapes(&to), &shapes(&from))?;
    for ((name, to), (_, from)) in to.into_iter().zip(from) {
        f(&name, to, from);
    }
    Ok(())
}

fn check_each_structure<T: Float>(
    argument: &'static str,
    expected: &[(String, ArrayViewD<'_, T>)],
    got: &[(String, ArrayViewD<'_, T>)],
) -> Result<()> {
    check_shapes(argument, &shapes(expected), &shapes(got))
}

/// Fails with [`Error::Structure`], naming `argument` (which is `got`), unless both bundles hold
/// arrays of the same names and shapes in the same order.
pub fn check_same_structure<T: Float, A: Arrays<Elem = T>>(
    argument: &'static str,
    expected: &A,
    got: &A,
) -> Result<()> {
    check_structure(argument, &views(expected), &views(got))
}

/// Fails at the first array in another than standard layout, naming it.
pub(crate) fn check_standard_layout<A: Arrays>(arrays: &A) -> Result<()> {
    let views = views(arrays);
    match views.into_iter().find(|(_, array)| !array.is_standard_layout()) {
        None => Ok(()),
        Some((name, _)) => Err(other_layout(name)),
    }
}

/// Returns the error of the array `name` in another than standard layout.
pub(crate) fn other_layout(name: String) -> Error {
    Error::argument(name, "an array in standard layout", "another layout")
}

/// Returns names and shapes.
fn shapes<V: RawData>(views: &[(String, ArrayBase<V, IxDyn>)]) -> Vec<(&str, &[usize])> {
    views.iter().map(|(name, array)| (name.as_str(), array.shape())).collect()
}

fn check_shapes(
    argument: &'static str,
    expected: &[(&str, &[usize])],
    got: &[(&str, &[usize])],
) -> Result<()> {
    let show = |entry: Option<&(&str, &[usize])>| {
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

/// Returns whether `name` matches `pattern`, in which `*` matches any text, including none.
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
            let mut ends = name.char_indices().map(|(i, _)| i).chain([name.len()]);
            ends.any(|i| name.get(i..).is_some_and(|name| matches(rest, name)))
        }),
    }
}

/// An array is a bundle of one array, named `value`.
impl<T: Float, D: Dimension> Arrays for Array<T, D> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        f("value", self.view().into_dyn());
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        f("value", self.view_mut().into_dyn());
    }
}

/// An optional bundle, such as a bias, has the arrays of the bundle or none.
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
/// Each field is listed in one of four ways. Fields that are not listed, such as options, have no
/// arrays.
///
/// | listed as | names of its arrays |
/// |---|---|
/// | `field` | the field's name, a dot, the array's own name |
/// | `..field` | the array's own name |
/// | `field: array` | the field's name, for a field that is one array, or an `Option` of one |
/// | `"name" => field.part` | the given name, for such a field, or such a part of a field |
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
/// If the element type is not the only type parameter of a struct, list its parameters, its type and the
/// element type:
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
    (@walk $call:ident $f:ident ($($of:tt)+) $name:literal => $($part:ident).+ $(, $($rest:tt)*)?) => {
        $crate::Arrays::$call($($of)+.$($part).+, &mut |_, array| $f($name, array));
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

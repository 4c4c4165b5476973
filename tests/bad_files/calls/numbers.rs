//! Numbers and slices of them: the parts of the kernels that take arguments of any size.

use recurrent::Float;
use recurrent::tensor::Level;
use recurrent::tensor::activation::{relu_slice, sigmoid_slice, tanh_slice};
use recurrent::tensor::reduce::softmax;
use recurrent::tensor::{Init, Packed};

use super::calls;
use super::given::{precision, unchanged};

calls! {
"Float::", g:
    from_f64 = f32::from_f64(g.number(0.5));
    write_le = { let mut bytes = Vec::new(); g.number(0.5).write_le(&mut bytes) };
"tensor::Init::", g:
    check = Init::Normal(g.number(0.5)).check("init")?;
    fill = Init::XavierNormal.fill(g.array2(3, 2).view_mut(), g.rng());
    fill = Init::Orthogonal.fill(g.array2(3, 2).view_mut(), g.rng());
"tensor::Packed::", g:
    new = Packed::new(Level::new(), g.array2(3, 2).view());
"tensor::Precision::", g:
    round = { let p = precision(g); let mut w = g.array2(3, 4); unchanged(&mut w, |w| p.round(w))? };
"tensor::activation::", g:
    relu_slice = relu_slice(Level::new(), &mut g.array1(5).to_vec());
    sigmoid_slice = sigmoid_slice(Level::new(), &mut g.array1(5).to_vec());
    tanh_slice = tanh_slice(Level::new(), &mut g.array1(5).to_vec());
"tensor::reduce::", g:
    softmax = softmax(Level::new(), &mut g.array1(5).to_vec());
}

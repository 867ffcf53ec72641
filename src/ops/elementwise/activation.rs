//! Activations.

use super::unary_methods;
use crate::expr::{Row, Rule, each};

pub(super) const ROWS: &[&Row] = &[&RELU, &SIGMOID, &LEAKY_RELU];

unary_methods! {
    /// `max(x, 0)`; NaN stays NaN, gradient 0 at 0.
    relu => RELU;
    /// `1 / (1 + exp(-x))`.
    sigmoid => SIGMOID;
}

impl crate::Tensor {
    /// `x` where positive, `slope * x` elsewhere.
    pub fn leaky_relu(&self, slope: f64) -> crate::Result<crate::Tensor> {
        super::record(&LEAKY_RELU, self, &[slope.into()])
    }

    /// `x * Phi(x)` with the normal distribution's exact Phi (Hendrycks and Gimpel 2016,
    /// arXiv:1606.08415).
    pub fn gelu(&self) -> crate::Result<crate::Tensor> {
        self.mul(&self.mul(std::f64::consts::FRAC_1_SQRT_2)?.erf()?.add(1.0)?.mul(0.5)?)
    }

    /// `x * sigmoid(x)`.
    pub fn silu(&self) -> crate::Result<crate::Tensor> {
        self.mul(&self.sigmoid()?)
    }
}

static RELU: Row = Row {
    name: "relu",
    rule: Rule::Map(1),
    wgsl: "select(a, 0.0, a < 0.0)",
    float: each!(|a: f32| -> f32 { if a < 0.0 { 0.0 } else { a } }),
    int: None,
    bool: None,
    // By the output, which is kept anyway: the input can then be fused away.
    gradient: |_, y, g| Ok(vec![Some(y.gt(0.0)?.where_(g, 0.0)?)]),
};

static SIGMOID: Row = Row {
    name: "sigmoid",
    rule: Rule::Map(1),
    wgsl: "1.0 / (1.0 + exp(-a))",
    float: each!(|a: f32| -> f32 { 1.0 / (1.0 + (-a).exp()) }),
    int: None,
    bool: None,
    gradient: |_, y, g| Ok(vec![Some(g.mul(&y.sub(&y.mul(y)?)?)?)]),
};

static LEAKY_RELU: Row = Row {
    name: "leaky_relu",
    rule: Rule::Map(2),
    wgsl: "select(a, a * b, a < 0.0)",
    float: each!(|a: f32, b: f32| -> f32 { if a < 0.0 { a * b } else { a } }),
    int: None,
    bool: None,
    gradient: |x, _, g| Ok(vec![Some(x[0].gt(0.0)?.where_(g, &g.mul(&x[1])?)?), None]),
};

//! Activations. Those that are short formulas of others are just that: fusion makes one kernel of them.

use super::{binary_methods, record, unary_methods};
use crate::expr::{Row, Rule, each};
use crate::ops::math;
use crate::ops::recompute::recompute;
use crate::{Error, Result, Tensor};
use std::f64::consts;

pub(super) const ROWS: &[&Row] =
    &[&RELU, &SIGMOID, &LOGSIGMOID, &SOFTSIGN, &LEAKY_RELU, &ELU, &CELU, &HARDTANH, &SOFTPLUS];

unary_methods! {
    /// `max(x, 0)`; NaN stays NaN, gradient 0 at 0.
    relu => RELU;
    /// `1 / (1 + exp(-x))`.
    sigmoid => SIGMOID;
    /// `log(sigmoid(x))`, accurate where the sigmoid is near 0 or 1.
    logsigmoid => LOGSIGMOID;
    /// `x / (1 + |x|)`.
    softsign => SOFTSIGN;
}

binary_methods! {
    /// `x` where positive, `slope * x` elsewhere (Maas et al. 2013).
    leaky_relu => LEAKY_RELU;
    /// `x` where positive, `alpha * (exp(x) - 1)` elsewhere (Clevert et al. 2015, arXiv:1511.07289).
    elu => ELU;
    /// `max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))` (Barron 2017, arXiv:1704.07483).
    celu => CELU;
}

/// What makes the mean 0 and the variance 1 a fixed point (Klambauer et al. 2017, arXiv:1706.02515).
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

impl Tensor {
    /// `scale * elu(x, alpha)` with the constants of self-normalising networks (Klambauer et al. 2017,
    /// arXiv:1706.02515).
    pub fn selu(&self) -> Result<Tensor> {
        self.elu(SELU_ALPHA)?.mul(SELU_SCALE)
    }

    /// `x` where positive, `weight * x` elsewhere, with one weight or one for each channel (dimension
    /// 1), which is trained (He et al. 2015, arXiv:1502.01852). PyTorch's `prelu`.
    pub fn prelu(&self, weight: &Tensor) -> Result<Tensor> {
        if weight.elements() == 1 {
            return self.leaky_relu(&weight.reshape(())?);
        }
        let channels = self.dims().get(1).copied().unwrap_or(1);
        if weight.dims() != [channels] {
            let message = format!(
                "weight {} for input {}: expected one weight or [{channels}]",
                weight.shape(),
                self.shape()
            );
            return Err(Error::op("prelu", message));
        }
        let mut dims = vec![1; self.rank() - 1];
        dims[0] = channels;
        self.leaky_relu(&weight.reshape(dims)?)
    }

    /// `min(max(x, low), high)`; NaN stays NaN. Gradient 0 at and beyond the bounds. PyTorch's
    /// `hardtanh`, whose bounds are -1 and 1 unless set.
    pub fn hardtanh(&self, low: f64, high: f64) -> Result<Tensor> {
        record(&HARDTANH, self, &[low.into(), high.into()])
    }

    /// `min(max(x, 0), 6)` (Krizhevsky 2010).
    pub fn relu6(&self) -> Result<Tensor> {
        self.hardtanh(0.0, 6.0)
    }

    /// `relu6(x + 3) / 6`: a sigmoid of straight lines (Howard et al. 2019, arXiv:1905.02244).
    pub fn hardsigmoid(&self) -> Result<Tensor> {
        self.add(3.0)?.relu6()?.mul(1.0 / 6.0)
    }

    /// `x * relu6(x + 3) / 6` (Howard et al. 2019, arXiv:1905.02244).
    pub fn hardswish(&self) -> Result<Tensor> {
        self.recomputed(|x| x.mul(&x.hardsigmoid()?))
    }

    /// `log(1 + exp(beta * x)) / beta`, and `x` itself where `beta * x` is above `threshold`. In PyTorch
    /// `beta` is 1 and `threshold` 20 unless set.
    pub fn softplus(&self, beta: f64, threshold: f64) -> Result<Tensor> {
        record(&SOFTPLUS, self, &[beta.into(), threshold.into()])
    }

    /// `x * tanh(softplus(x))` (Misra 2019, arXiv:1908.08681).
    pub fn mish(&self) -> Result<Tensor> {
        self.recomputed(|x| x.mul(&x.softplus(1.0, 20.0)?.tanh()?))
    }

    /// `x * Phi(x)` with the normal distribution's exact Phi (Hendrycks and Gimpel 2016,
    /// arXiv:1606.08415).
    pub fn gelu(&self) -> Result<Tensor> {
        self.recomputed(|x| x.mul(&x.mul(consts::FRAC_1_SQRT_2)?.erf()?.add(1.0)?.mul(0.5)?))
    }

    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`, the approximation of
    /// [`gelu`](Tensor::gelu) that GPT-2 was trained with (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    pub fn gelu_tanh(&self) -> Result<Tensor> {
        self.recomputed(|x| {
            let cubic = x.square()?.mul(0.044715)?.add(1.0)?.mul(x)?;
            let phi =
                cubic.mul(consts::FRAC_2_SQRT_PI * consts::FRAC_1_SQRT_2)?.tanh()?.add(1.0)?.mul(0.5)?;
            x.mul(&phi)
        })
    }

    /// `x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118).
    pub fn silu(&self) -> Result<Tensor> {
        self.recomputed(|x| x.mul(&x.sigmoid()?))
    }

    /// A formula of several ops, of which only the input and the result are kept for the gradient.
    fn recomputed(&self, formula: fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        recompute(&[self], &[], move |x| formula(&x[0]))
    }

    /// `x - tanh(x)`.
    pub fn tanhshrink(&self) -> Result<Tensor> {
        self.sub(&self.tanh()?)
    }

    /// `x` where `|x|` is above `lambda`, 0 elsewhere (0.5 in PyTorch unless set).
    pub fn hardshrink(&self, lambda: f64) -> Result<Tensor> {
        self.abs()?.le(lambda)?.where_(0.0, self)
    }

    /// `x` moved towards 0 by `lambda`, and no further (0.5 in PyTorch unless set). An error where
    /// `lambda` is negative.
    pub fn softshrink(&self, lambda: f64) -> Result<Tensor> {
        if lambda.is_nan() || lambda < 0.0 {
            return Err(Error::op("softshrink", format!("lambda {lambda} is not 0 or more")));
        }
        self.sub(&self.clamp(-lambda, lambda)?)
    }

    /// `x` where it is above `threshold`, else `value`; NaN stays NaN.
    pub fn threshold(&self, threshold: f64, value: f64) -> Result<Tensor> {
        self.le(threshold)?.where_(value, self)
    }

    /// `a * sigmoid(b)`, `a` and `b` being the halves of this tensor along a dimension (Dauphin et al.
    /// 2016, arXiv:1612.08083). An error unless its size is even.
    pub fn glu(&self, dim: isize) -> Result<Tensor> {
        let size = self.size(dim)?;
        if size % 2 != 0 {
            let message = format!("dimension {dim} of shape {} is odd: it has no halves", self.shape());
            return Err(Error::op("glu", message));
        }
        let gate = self.narrow(dim, size / 2, size / 2)?.sigmoid()?;
        self.narrow(dim, 0, size / 2)?.mul(&gate)
    }
}

static RELU: Row = Row {
    name: "relu",
    rule: Rule::Map(1),
    wgsl: "relu_f32(a)",
    float: each!(|a: f32| -> f32 { if a < 0.0 { 0.0 } else { a } }),
    int: None,
    bool: None,
    // By the output, which is kept anyway: the input can then be fused away.
    gradient: |_, y, g| Ok(vec![Some(y.le(0.0)?.where_(0.0, g)?)]),
};

static SIGMOID: Row = Row {
    name: "sigmoid",
    rule: Rule::Map(1),
    wgsl: "1.0 / (1.0 + exp_f32(-a))",
    float: each!(|a: f32| -> f32 { math::sigmoid(a) }),
    int: None,
    bool: None,
    gradient: |_, y, g| Ok(vec![Some(g.mul(&y.sub(&y.mul(y)?)?)?)]),
};

static LOGSIGMOID: Row = Row {
    name: "logsigmoid",
    rule: Rule::Map(1),
    wgsl: "min(a, 0.0) - log1p_f32(exp_f32(-abs(a)))",
    float: each!(|a: f32| -> f32 { a.min(0.0) - (-a.abs()).exp().ln_1p() }),
    int: None,
    bool: None,
    gradient: |x, _, g| Ok(vec![Some(g.mul(&x[0].neg()?.sigmoid()?)?)]),
};

static SOFTSIGN: Row = Row {
    name: "softsign",
    rule: Rule::Map(1),
    wgsl: "a / (1.0 + abs(a))",
    float: each!(|a: f32| -> f32 { a / (1.0 + a.abs()) }),
    int: None,
    bool: None,
    gradient: |x, _, g| Ok(vec![Some(g.div(&x[0].abs()?.add(1.0)?.square()?)?)]),
};

static LEAKY_RELU: Row = Row {
    name: "leaky_relu",
    rule: Rule::Map(2),
    wgsl: "select(a, a * b, a < 0.0)",
    float: each!(|a: f32, b: f32| -> f32 { if a < 0.0 { a * b } else { a } }),
    int: None,
    bool: None,
    gradient: |x, _, g| {
        let positive = x[0].gt(0.0)?;
        let slope = positive.where_(0.0, &g.mul(&x[0])?)?;
        Ok(vec![Some(positive.where_(g, &g.mul(&x[1])?)?), Some(slope)])
    },
};

static ELU: Row = Row {
    name: "elu",
    rule: Rule::Map(2),
    wgsl: "select(a, b * expm1_f32(a), a < 0.0)",
    float: each!(|a: f32, b: f32| -> f32 { if a < 0.0 { b * a.exp_m1() } else { a } }),
    int: None,
    bool: None,
    gradient: |x, y, g| {
        let positive = x[0].gt(0.0)?.logical_or(&x[0].isnan()?)?;
        // Bounded first: what is not chosen must not be infinite, or its own gradient is NaN.
        let slope = x[0].minimum(0.0)?.exp()?.mul(&x[1])?;
        let alpha = positive.where_(0.0, &g.mul(&y.div(&x[1])?)?)?;
        Ok(vec![Some(positive.where_(g, &g.mul(&slope)?)?), Some(alpha)])
    },
};

static CELU: Row = Row {
    name: "celu",
    rule: Rule::Map(2),
    wgsl: "select(a, b * expm1_f32(a / b), a < 0.0)",
    float: each!(|a: f32, b: f32| -> f32 { if a < 0.0 { b * (a / b).exp_m1() } else { a } }),
    int: None,
    bool: None,
    gradient: |x, y, g| {
        let positive = x[0].gt(0.0)?.logical_or(&x[0].isnan()?)?;
        let ratio = x[0].minimum(0.0)?.div(&x[1])?;
        let slope = ratio.exp()?;
        let alpha = y.div(&x[1])?.sub(&slope.mul(&ratio)?)?;
        Ok(vec![Some(positive.where_(g, &g.mul(&slope)?)?), Some(positive.where_(0.0, &g.mul(&alpha)?)?)])
    },
};

static HARDTANH: Row = Row {
    name: "hardtanh",
    rule: Rule::Map(3),
    wgsl: "minimum_f32(maximum_f32(a, b), c)",
    float: each!(|a: f32, b: f32, c: f32| -> f32 {
        let low = if a < b { b } else { a };
        if low > c { c } else { low }
    }),
    int: None,
    bool: None,
    // Unlike clamp's, PyTorch's gradient passes where the input is NaN.
    gradient: |x, _, g| {
        let outside = x[0].le(&x[1])?.logical_or(&x[0].ge(&x[2])?)?;
        Ok(vec![Some(outside.where_(0.0, g)?), None, None])
    },
};

static SOFTPLUS: Row = Row {
    name: "softplus",
    rule: Rule::Map(3),
    wgsl: "select(log1p_f32(exp_f32(a * b)) / b, a, a * b > c)",
    float: each!(|a: f32, b: f32, c: f32| -> f32 { if a * b > c { a } else { (a * b).exp().ln_1p() / b } }),
    int: None,
    bool: None,
    gradient: |x, _, g| {
        let scaled = x[0].mul(&x[1])?;
        let slope = g.mul(&scaled.sigmoid()?)?;
        Ok(vec![Some(scaled.gt(&x[2])?.where_(g, &slope)?), None, None])
    },
};

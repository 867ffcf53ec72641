//! Products in the forms that layers and formulas use.

use crate::{Error, Result, Tensor};

impl Tensor {
    /// `x W^T + b` over the last dimension: `[..., in]`, a weight `[out, in]` and a bias `[out]` give
    /// `[..., out]`. An error where these do not fit.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let engine = Engine::cpu();
    /// let x = Tensor::from_slice(&[1.0f32, 2.0], 2, &engine)?;
    /// let weight = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0], [3, 2], &engine)?;
    /// assert_eq!(x.linear(&weight, None)?.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let refuse = |message: String| Err(Error::op("linear", message));
        let &[outputs, inputs] = weight.dims() else {
            return refuse(format!("weight {} is not [out, in]", weight.shape()));
        };
        if self.dims().last() != Some(&inputs) {
            return refuse(format!("input {} for weight {}", self.shape(), weight.shape()));
        }
        let product = self.matmul(&weight.t()?)?;
        match bias {
            Some(bias) if bias.dims() != [outputs] => {
                refuse(format!("bias {} for weight {}: expected [{outputs}]", bias.shape(), weight.shape()))
            }
            Some(bias) => product.add(&bias.cast(product.dtype())?),
            None => Ok(product),
        }
    }

    /// `beta * self + alpha * a b`, of matrices; `self` is broadcast to the product's shape. Where
    /// `beta` is 0 the values of `self` do not count, NaN included. An error where `a` and `b` are not
    /// matrices that multiply, or `self` does not broadcast.
    pub fn addmm(&self, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
        if a.rank() != 2 || b.rank() != 2 {
            return Err(Error::op(
                "addmm",
                format!("shapes {} and {} are not matrices", a.shape(), b.shape()),
            ));
        }
        let product = a.matmul(b)?;
        if self.shape().broadcast(product.shape()).as_ref() != Some(product.shape()) {
            let message = format!("shape {} does not broadcast to {}", self.shape(), product.shape());
            return Err(Error::op("addmm", message));
        }
        let scaled = |t: &Tensor, factor: f64| if factor == 1.0 { Ok(t.clone()) } else { t.mul(factor) };
        let product = scaled(&product, alpha)?;
        if beta == 0.0 { Ok(product) } else { scaled(self, beta)?.add(&product) }
    }

    /// The products of two batches of as many matrices: `[N, M, K]` and `[N, K, P]` give `[N, M, P]`.
    /// Unlike [`matmul`](Tensor::matmul) nothing is broadcast: other shapes are an error.
    pub fn bmm(&self, other: &Tensor) -> Result<Tensor> {
        match (self.dims(), other.dims()) {
            (&[a, _, columns], &[b, rows, _]) if a == b && columns == rows => self.matmul(other),
            _ => {
                let message =
                    format!("shapes {} and {} are not [N, M, K] and [N, K, P]", self.shape(), other.shape());
                Err(Error::op("bmm", message))
            }
        }
    }

    /// All products of an element of one vector and one of another: `[M]` and `[N]` give `[M, N]`. An
    /// error unless both are vectors.
    pub fn outer(&self, other: &Tensor) -> Result<Tensor> {
        if self.rank() != 1 || other.rank() != 1 {
            let message = format!("shapes {} and {} are not vectors", self.shape(), other.shape());
            return Err(Error::op("outer", message));
        }
        self.unsqueeze(1)?.mul(other)
    }
}

//! Products of matrices on the CPU, by the kernels of the `gemm` crates: only those of real numbers, where
//! the crate over them builds those of complex ones too.

pub(crate) use gemm_common::Parallelism;

/// Where the elements of a matrix are: the first one, and the steps from row to row and from column to
/// column.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<T> {
    data: *mut T,
    row: isize,
    column: isize,
}

impl<T> Matrix<T> {
    /// A matrix that is read.
    pub fn new(data: *const T, row: isize, column: isize) -> Matrix<T> {
        Matrix { data: data.cast_mut(), row, column }
    }

    fn t(self) -> Matrix<T> {
        Matrix { row: self.column, column: self.row, ..self }
    }

    /// With its `rows` rows in reverse order.
    fn upside_down(self, rows: usize) -> Matrix<T> {
        let last = rows.saturating_sub(1) as isize * self.row;
        Matrix { data: self.data.wrapping_offset(last), row: -self.row, ..self }
    }
}

/// A number that there are kernels for.
pub(crate) trait Element: Copy {
    const ZERO: Self;
    const ONE: Self;

    /// As [`multiply`], of an output whose columns are at least as far apart as its rows, and forwards.
    unsafe fn kernel(
        sizes: [usize; 3],
        output: Matrix<Self>,
        operands: [Matrix<Self>; 2],
        factors: [Self; 2],
        threads: Parallelism,
    );
}

macro_rules! element {
    ($element:ident, $kernel:path) => {
        impl Element for $element {
            const ZERO: $element = 0.0;
            const ONE: $element = 1.0;

            unsafe fn kernel(
                [m, n, k]: [usize; 3],
                c: Matrix<$element>,
                [a, b]: [Matrix<$element>; 2],
                [before, scale]: [$element; 2],
                threads: Parallelism,
            ) {
                use $kernel as kernel;
                // SAFETY: the caller's.
                unsafe {
                    kernel::get_gemm_fn()(
                        m,
                        n,
                        k,
                        c.data,
                        c.column,
                        c.row,
                        before != 0.0,
                        a.data,
                        a.column,
                        a.row,
                        b.data,
                        b.column,
                        b.row,
                        before,
                        scale,
                        false,
                        false,
                        false,
                        threads,
                    );
                }
            }
        }
    };
}

element!(f32, gemm_f32::gemm::f32);
#[cfg(feature = "classical")]
element!(f64, gemm_f64::gemm::f64);

/// `output[m, n] = scale * a[m, k] b[k, n]`, added to what is there if `add`.
///
/// # Safety
/// All places that the strides reach must be valid, those of `a` and `b` for reads, those of `output` for
/// writes by nobody else meanwhile.
pub(crate) unsafe fn multiply<T: Element>(
    [m, n, k]: [usize; 3],
    output: (*mut T, isize, isize),
    add: bool,
    [a, b]: [Matrix<T>; 2],
    scale: T,
    threads: Parallelism,
) {
    let output = Matrix { data: output.0, row: output.1, column: output.2 };
    let (m, n, mut output, mut a, mut b) = if output.column.abs() < output.row.abs() {
        (n, m, output.t(), b.t(), a.t())
    } else {
        (m, n, output, a, b)
    };
    if output.row < 0 {
        (output, a) = (output.upside_down(m), a.upside_down(m));
    }
    if output.column < 0 {
        (output, b) = (output.t().upside_down(n).t(), b.t().upside_down(n).t());
    }
    if a.column < 0 {
        (a, b) = (a.t().upside_down(k).t(), b.upside_down(k));
    }
    let before = if add { T::ONE } else { T::ZERO };
    // SAFETY: the caller's; the same places in another order.
    unsafe { T::kernel([m, n, k], output, [a, b], [before, scale], threads) }
}

//! Comparisons, logic, selection and casts.

use super::{binary_methods, no_gradient, record, unary_methods};
use crate::expr::{Loop, Row, Rule, each};
use crate::{DType, Operand, Result, Tensor};

pub(super) const ROWS: &[&Row] = &[
    &EQ, &NE, &LT, &LE, &GT, &GE, &AND, &OR, &XOR, &NOT, &WHERE, &COPY, &CAST_F32, &CAST_F16, &CAST_I32,
    &CAST_BOOL,
];

binary_methods! {
    /// Where the elements are equal, as `Bool`.
    eq => EQ;
    /// Where the elements differ, as `Bool`.
    ne => NE;
    /// Where `self < other`, as `Bool`.
    lt => LT;
    /// Where `self <= other`, as `Bool`.
    le => LE;
    /// Where `self > other`, as `Bool`.
    gt => GT;
    /// Where `self >= other`, as `Bool`.
    ge => GE;
    /// Where both are true.
    logical_and => AND;
    /// Where one or both are true.
    logical_or => OR;
    /// Where exactly one is true.
    logical_xor => XOR;
}

unary_methods! {
    /// Where this is false.
    logical_not => NOT;
}

/// WGSL does not order truth values.
macro_rules! never {
    ($($body:tt)*) => {
        None
    };
}

macro_rules! test {
    ($row:ident, $name:literal, $wgsl:literal, $bool:ident, |$a:ident, $b:ident| $test:expr) => {
        static $row: Row = Row {
            name: $name,
            rule: Rule::Test(2),
            wgsl: $wgsl,
            float: each!(|$a: f32, $b: f32| -> u32 { u32::from($test) }),
            int: each!(|$a: i32, $b: i32| -> u32 { u32::from($test) }),
            bool: $bool!(|$a: u32, $b: u32| -> u32 { u32::from($test) }),
            gradient: no_gradient,
        };
    };
}

test!(EQ, "eq", "a == b", each, |a, b| a == b);
// Some compilers take `!=` for an ordered comparison, which is false for NaN.
test!(NE, "ne", "!(a == b)", each, |a, b| a != b);
test!(LT, "lt", "a < b", never, |a, b| a < b);
test!(LE, "le", "a <= b", never, |a, b| a <= b);
test!(GT, "gt", "a > b", never, |a, b| a > b);
test!(GE, "ge", "a >= b", never, |a, b| a >= b);

macro_rules! logic {
    ($row:ident, $name:literal, $wgsl:literal, |$a:ident, $b:ident| $value:expr) => {
        static $row: Row = Row {
            name: $name,
            rule: Rule::Map(2),
            wgsl: $wgsl,
            float: None,
            int: None,
            bool: each!(|$a: u32, $b: u32| -> u32 { $value }),
            gradient: no_gradient,
        };
    };
}

logic!(AND, "logical_and", "a && b", |a, b| a & b);
logic!(OR, "logical_or", "a || b", |a, b| a | b);
logic!(XOR, "logical_xor", "a != b", |a, b| a ^ b);

static NOT: Row = Row {
    name: "logical_not",
    rule: Rule::Map(1),
    wgsl: "!a",
    float: None,
    int: None,
    bool: each!(|a: u32| -> u32 { a ^ 1 }),
    gradient: no_gradient,
};

/// Words of any type, by a mask: an `if` becomes a branch around the loads, and the loop no vectors.
const CHOOSE: Option<Loop> = each!(|a: u32, b: u32, c: u32| -> u32 {
    let mask = u32::from(a == 0).wrapping_sub(1);
    b & mask | c & !mask
});

static WHERE: Row = Row {
    name: "where",
    rule: Rule::Select,
    wgsl: "select(c, b, a)",
    float: CHOOSE,
    int: CHOOSE,
    bool: CHOOSE,
    gradient: |x, _, g| Ok(vec![None, Some(x[0].where_(g, 0.0)?), Some(x[0].where_(0.0, g)?)]),
};

static COPY: Row = Row {
    name: "contiguous",
    rule: Rule::Map(1),
    wgsl: "a",
    float: each!(|a: f32| -> f32 { a }),
    int: each!(|a: i32| -> i32 { a }),
    bool: each!(|a: u32| -> u32 { a }),
    gradient: |_, _, g| Ok(vec![Some(g.clone())]),
};

static CAST_F32: Row = Row {
    name: "cast",
    rule: Rule::Cast(DType::F32),
    wgsl: "f32(a)",
    float: each!(|a: f32| -> f32 { a }),
    int: each!(|a: i32| -> f32 { a as f32 }),
    bool: each!(|a: u32| -> f32 { a as f32 }),
    gradient: cast_gradient,
};

/// Registers hold `f32`: the cast rounds to what half precision can store.
pub(crate) static CAST_F16: Row = Row {
    name: "cast",
    rule: Rule::Cast(DType::F16),
    wgsl: "unpack2x16float(pack2x16float(vec2(f32(a), 0.0))).x",
    float: each!(|a: f32| -> f32 { half::f16::from_f32(a).to_f32() }),
    int: each!(|a: i32| -> f32 { half::f16::from_f32(a as f32).to_f32() }),
    bool: each!(|a: u32| -> f32 { a as f32 }),
    gradient: cast_gradient,
};

static CAST_I32: Row = Row {
    name: "cast",
    rule: Rule::Cast(DType::I32),
    wgsl: "i32(a)",
    float: each!(|a: f32| -> i32 { a as i32 }),
    int: each!(|a: i32| -> i32 { a }),
    bool: each!(|a: u32| -> i32 { a as i32 }),
    gradient: no_gradient,
};

static CAST_BOOL: Row = Row {
    name: "cast",
    rule: Rule::Cast(DType::Bool),
    wgsl: "bool(a)",
    float: each!(|a: f32| -> u32 { u32::from(a != 0.0) }),
    int: each!(|a: i32| -> u32 { u32::from(a != 0) }),
    bool: each!(|a: u32| -> u32 { a }),
    gradient: no_gradient,
};

fn cast_gradient(x: &[Tensor], _: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
    Ok(vec![if x[0].dtype().is_float() { Some(cast(g, x[0].dtype())?) } else { None }])
}

/// The elements as another dtype.
pub(crate) fn cast(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.dtype() == dtype {
        return Ok(tensor.clone());
    }
    let row = match dtype {
        DType::F32 => &CAST_F32,
        DType::F16 => &CAST_F16,
        DType::I32 => &CAST_I32,
        DType::Bool => &CAST_BOOL,
    };
    record(row, tensor, &[])
}

impl Tensor {
    /// The elements as another dtype: floats are truncated to integers, anything but 0 is true. What NaN and
    /// floats beyond the range of `I32` become there depends on the device.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        cast(self, dtype)
    }

    /// Where this `Bool` tensor is true the element of `yes`, elsewhere that of `no`, broadcast
    /// (PyTorch's `where`).
    pub fn where_<'a>(&self, yes: impl Into<Operand<'a>>, no: impl Into<Operand<'a>>) -> Result<Tensor> {
        record(&WHERE, self, &[yes.into(), no.into()])
    }

    /// `value` where `mask` is true, this tensor elsewhere.
    pub fn masked_fill(&self, mask: &Tensor, value: f64) -> Result<Tensor> {
        mask.where_(value, self)
    }

    /// The same tensor row-major without gaps: itself if it lies so already, else a copy.
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.layout().is_contiguous() {
            return Ok(self.clone());
        }
        self.copied()
    }

    /// A copy, row-major without gaps.
    pub(in crate::ops) fn copied(&self) -> Result<Tensor> {
        record(&COPY, self, &[])
    }
}

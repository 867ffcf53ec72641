//! Tensors joined along a dimension.

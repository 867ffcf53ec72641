//! Two-dimensional convolution.

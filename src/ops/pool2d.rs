//! Pooling over windows of the last two dimensions.

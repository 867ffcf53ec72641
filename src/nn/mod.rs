//! Layers, parameters and losses.

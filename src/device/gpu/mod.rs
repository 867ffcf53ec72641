//! The GPU device.

//! Classical machine learning against scikit-learn's numbers, and against bad input.

mod calibration;
mod cluster;
mod damaged;
mod decomposition;
mod edge;
mod fixtures;
mod linear;
mod manifold;
mod metrics;
mod mixture;
mod model_selection;
mod neighbors;
mod preprocessing;
mod recommend;
mod reinforcement;
mod svm;
mod table;
mod text;
mod trees;

//! Sums of gradients by bin.

use super::binning::Group;

/// The sums of a bin: gradients, then hessians unless they are all 1, then the count. `N` is 2 or 3.
pub(super) type Sums<const N: usize> = [f64; N];

/// The bins of one feature. Of fixed length, so that no bin can be out of it.
pub(super) type FeatureSums<const N: usize> = [Sums<N>; 256];

/// What a row adds to its bins.
#[inline(always)]
fn entry<const N: usize>([gradient, hessian]: [f32; 2]) -> Sums<N> {
    let mut entry = [1.0; N];
    entry[0] = f64::from(gradient);
    if N == 3 {
        entry[1] = f64::from(hessian);
    }
    entry
}

/// Fills the histograms of a group's features, which the caller has cleared, with these rows; the
/// `gradients` (and hessians) are in their order.
pub(super) fn fill<const N: usize>(
    group: &Group,
    rows: &[u32],
    gradients: &[[f32; 2]],
    histograms: &mut [FeatureSums<N>],
) {
    match group.width {
        1 => fill_width::<N, 1>(group, rows, gradients, histograms),
        2 => fill_width::<N, 2>(group, rows, gradients, histograms),
        3 => fill_width::<N, 3>(group, rows, gradients, histograms),
        _ => fill_width::<N, 4>(group, rows, gradients, histograms),
    }
}

fn fill_width<const N: usize, const W: usize>(
    group: &Group,
    rows: &[u32],
    gradients: &[[f32; 2]],
    histograms: &mut [FeatureSums<N>],
) {
    let (bins, _) = group.bins.as_chunks::<W>();
    let Some(histograms) = histograms.first_chunk_mut::<W>() else { return };
    for (&row, &gradient) in rows.iter().zip(gradients) {
        let entry = entry::<N>(gradient);
        for (histogram, &bin) in histograms.iter_mut().zip(&bins[row as usize]) {
            let sums = &mut histogram[usize::from(bin)];
            for (sum, add) in sums.iter_mut().zip(entry) {
                *sum += add;
            }
        }
    }
}

/// Takes the sums of one child from those of the parent, which leaves the other child's.
pub(super) fn subtract<const N: usize>(parent: &mut [Sums<N>], child: &[Sums<N>]) {
    for (parent, child) in parent.iter_mut().zip(child) {
        for (parent, child) in parent.iter_mut().zip(child) {
            *parent -= child;
        }
    }
}

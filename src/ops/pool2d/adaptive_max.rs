//! The greatest element of each of as many windows as are asked for.

use super::{LIMIT, check_images};
use crate::{Error, Result, Tensor};

/// The elements of `count` windows over `size` of them, the last of a window repeated so that all are
/// as long as the longest; and that length.
fn windows(size: usize, count: usize) -> (Vec<i32>, usize) {
    let range = |o: usize| (o * size / count, ((o + 1) * size).div_ceil(count));
    let length = (0..count).map(range).map(|(start, end)| end - start).max().unwrap_or(0);
    let places =
        (0..count).map(range).flat_map(|(start, end)| (start..start + length).map(move |i| i.min(end - 1)));
    (places.map(|place| place as i32).collect(), length)
}

impl Tensor {
    /// The greatest elements of as many windows as it takes to get images of this height and width
    /// from images `[N, C, H, W]`: windows as in
    /// [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d), errors too. NaN wins, and the gradient
    /// goes to the first of equal elements.
    pub fn adaptive_max_pool2d(&self, output: [usize; 2]) -> Result<Tensor> {
        const NAME: &str = "adaptive_max_pool2d";
        check_images(NAME, self.spec())?;
        let (dims, engine) = (self.dims(), self.engine());
        let input = [dims[2], dims[3]];
        if input.contains(&0) || output.iter().any(|count| !(1..=LIMIT).contains(count)) {
            let message = format!("there is no maximum of {input:?} elements in {output:?} windows");
            return Err(Error::op(NAME, message));
        }
        let [(rows, height), (columns, width)] = [0, 1].map(|d| windows(input[d], output[d]));
        let rows = Tensor::from_slice(&rows, rows.len(), engine)?;
        let columns = Tensor::from_slice(&columns, columns.len(), engine)?;
        // A repeated element comes after itself and so is never the first of equal ones.
        let gathered = self.index_select(2, &rows)?.index_select(3, &columns)?;
        let split = gathered.reshape([dims[0], dims[1], output[0], height, output[1], width])?;
        let windows = split.transpose(3, 4)?.flatten(4, 5)?;
        windows.gather(-1, &windows.detach().argmax(-1, true)?)?.squeeze(-1)
    }
}

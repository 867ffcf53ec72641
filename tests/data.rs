//! Data sets, the loader, and the files they come from.

use flate2::{Compression, write::GzEncoder};
use kiln::data::{Batch, DataLoader, Dataset, IdxArray, InMemory, Mnist, Split, Subset};
use kiln::{Error, Result};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A fresh folder for one test's files.
fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_idx(bytes: &[u8], rank: usize) -> Result<IdxArray> {
    IdxArray::read(bytes, rank, Path::new("digits.idx"))
}

/// Asserts that this is a `File` error that names the file and says `expected`.
#[track_caller]
fn assert_refused<T>(result: Result<T>, expected: &str) {
    let error = result.err().expect("an error");
    let message = error.to_string();
    assert!(matches!(error, Error::File { .. }), "{message}");
    assert!(message.starts_with("digits.idx: ") && message.contains(expected), "{message}");
}

#[track_caller]
fn assert_message<T>(result: Result<T>, expected: &str) {
    let message = result.err().expect("an error").to_string();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn idx_plain_and_gzip() {
    let bytes = idx(8, &[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
    let expected = IdxArray { dims: vec![2, 1, 3], data: vec![1, 2, 3, 4, 5, 6] };
    assert_eq!(read_idx(&bytes, 3).unwrap(), expected);
    assert_eq!(read_idx(&gzip(&bytes), 3).unwrap(), expected);
    // The name says nothing about the content.
    let path = folder("idx_plain_and_gzip").join("plain.gz");
    fs::write(&path, &bytes).unwrap();
    assert_eq!(IdxArray::load(&path, 3).unwrap(), expected);
}

#[test]
fn idx_corruptions_are_named() {
    let labels = idx(8, &[3], &[7, 8, 9]);
    assert_refused(read_idx(&[], 1), "not an IDX file: 0 bytes long");
    assert_refused(read_idx(b"\x89PNG....", 1), "begins with 89 50 4e 47");
    assert_refused(read_idx(&idx(0x0d, &[1], &[0; 4]), 1), "element type 0x0d (f32), expected 0x08");
    assert_refused(read_idx(&idx(0x42, &[1], &[0; 4]), 1), "0x42 (unknown)");
    assert_refused(read_idx(&labels, 3), "rank 1, expected rank 3");
    assert_refused(read_idx(&labels[..6], 1), "the IDX header has 8 bytes, found 6");
    assert_refused(read_idx(&labels[..10], 1), "expected 3 bytes of data for [3], found 2");
    assert_refused(read_idx(&[&labels[..], b"x"].concat(), 1), "trailing data");
    assert_refused(read_idx(&idx(8, &[0], &[]), 1), "no items");
    assert_refused(read_idx(&idx(8, &[5, 0, 5], &[]), 3), "no items");
    assert_refused(read_idx(&idx(8, &[u32::MAX], &[1]), 1), "expected 4294967295 bytes");
    assert_refused(read_idx(&idx(8, &[u32::MAX; 3], &[1]), 3), "more than 4294967296 bytes");

    let packed = gzip(&labels);
    assert_refused(read_idx(&packed[..packed.len() - 9], 1), "truncated");
    let mut flipped = packed.clone();
    flipped[packed.len() - 8] ^= 1;
    assert_refused(read_idx(&flipped, 1), "corrupt gzip");
    assert_refused(read_idx(&[&packed[..], b"garbage"].concat(), 1), "gzip");
    // 64 MiB behind a header that says 3 bytes: stops after the fourth.
    assert_refused(read_idx(&gzip(&idx(8, &[3], &vec![0; 64 << 20])), 1), "trailing data");

    let missing = IdxArray::load("no/such/file", 1).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }) && missing.to_string().starts_with("no/such/file: "));
}

#[test]
fn damaged_idx_never_panics() {
    let plain = idx(8, &[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
    for whole in [plain.clone(), gzip(&plain)] {
        for end in 0..whole.len() {
            assert!(read_idx(&whole[..end], 3).is_err(), "cut at {end}");
        }
        for place in 0..whole.len() {
            for flip in 1..=255 {
                let mut bytes = whole.clone();
                bytes[place] ^= flip;
                let _ = read_idx(&bytes, 3);
            }
        }
    }
}

fn counts(data: &dyn Dataset) -> Vec<usize> {
    let mut counts = vec![0; 10];
    let mut input = vec![0.0; 784];
    for index in 0..data.len() {
        counts[data.sample(index, &mut input).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn mnist_is_all_there() {
    let train = Mnist::load(Split::Train, None).unwrap();
    assert_eq!((train.len(), train.shape(), train.classes().len()), (60_000, &[1, 28, 28][..], 10));
    assert_eq!(counts(&train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    let test = Mnist::load(Split::Test, Some(Path::new("assets/mnist"))).unwrap();
    assert_eq!(test.len(), 10_000);
    assert_eq!(counts(&test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);

    let mut input = vec![0.0; 784];
    let first: Vec<i32> = (0..5).map(|index| train.sample(index, &mut input).unwrap()).collect();
    assert_eq!(first, [5, 0, 4, 1, 9]);
    assert!(train.sample(60_000, &mut input).is_err());
    assert!(train.sample(0, &mut input[1..]).is_err());
}

#[test]
fn mnist_normalized() {
    let (mean, std) = (0.1307, 0.3081);
    let train = Mnist::load(Split::Train, None).unwrap().normalize(&[mean], &[std]).unwrap();
    let (mut sum, mut squares) = (0.0f64, 0.0f64);
    let mut input = vec![0.0; 784];
    for index in 0..train.len() {
        train.sample(index, &mut input).unwrap();
        sum += input.iter().map(|&x| f64::from(x)).sum::<f64>();
        squares += input.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    }
    let count = 784.0 * 60_000.0;
    assert!((sum / count).abs() < 1e-3 && (squares / count - 1.0).abs() < 1e-3);
}

#[test]
fn mnist_errors() {
    let dir = folder("mnist_errors");
    let load = || Mnist::load(Split::Test, Some(&dir));
    let write = |name: &str, bytes: Vec<u8>| fs::write(dir.join(name), bytes).unwrap();
    let missing = load().unwrap_err().to_string();
    for part in [dir.to_str().unwrap(), "t10k-images-idx3-ubyte", "KILN_DATA", "https://"] {
        assert!(missing.contains(part), "{missing}");
    }
    write("t10k-images-idx3-ubyte", idx(8, &[2, 28, 28], &[0; 2 * 784]));
    assert_message(load(), "not found");
    write("t10k-labels-idx1-ubyte.gz", gzip(&idx(8, &[3], &[1, 2, 3])));
    assert_message(load(), "2 samples of shape [1, 28, 28] for 3 labels");
    write("t10k-labels-idx1-ubyte.gz", gzip(&idx(8, &[2], &[1, 10])));
    assert_message(load(), "t10k-labels-idx1-ubyte.gz: dataset: label 10 of sample 1 is not in 0..10");
    write("t10k-images-idx3-ubyte", idx(8, &[2, 28, 27], &[0; 2 * 28 * 27]));
    assert_message(load(), "images of 28x27, expected 28x28");
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

#[test]
fn in_memory() {
    let make = |count, labels: &[i32], shape: &[usize]| {
        InMemory::new(vec![0.5f32; count], labels.to_vec(), shape, names(3))
    };
    assert_message(make(0, &[], &[2]), "no samples");
    assert_message(make(4, &[0], &[2]), "2 samples of shape [2] for 1 labels");
    assert_message(make(5, &[0, 1], &[2]), "5 elements, not a whole number");
    assert_message(make(0, &[0], &[2, 0]), "no elements");
    assert_message(make(4, &[0, 3], &[2]), "label 3 of sample 1 is not in 0..3");
    assert_message(make(4, &[-1, 0], &[2]), "label -1 of sample 0");
    assert_message(make(4, &[0], &[2, 2]).unwrap().normalize(&[0.0], &[1.0]), "for 2 channels");
    assert_message(make(4, &[0], &[2, 2]).unwrap().normalize(&[0.0; 2], &[1.0, 0.0]), "channel 1");

    let bytes = InMemory::new(vec![0u8, 51, 255, 102], vec![2], &[2, 2], names(3)).unwrap();
    let mut input = [0.0; 4];
    assert_eq!(bytes.sample(0, &mut input).unwrap(), 2);
    assert_eq!(input, [0.0, 0.2, 1.0, 0.4]);
    bytes.normalize(&[0.0, 1.0], &[0.5, 2.0]).unwrap().sample(0, &mut input).unwrap();
    assert_eq!(input, [0.0, 0.4, 0.0, (0.4 - 1.0) / 2.0]);
}

/// Sample `i` is `[i, -i]` with label `i`.
struct Numbers(usize);

impl Dataset for Numbers {
    fn len(&self) -> usize {
        self.0
    }
    fn shape(&self) -> &[usize] {
        &[2]
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn sample(&self, index: usize, input: &mut [f32]) -> Result<i32> {
        input.copy_from_slice(&[index as f32, -(index as f32)]);
        Ok(index as i32)
    }
}

fn loader(samples: usize, batch_size: usize) -> DataLoader {
    DataLoader::new(Arc::new(Numbers(samples)), batch_size).unwrap()
}

fn labels(loader: &DataLoader, epoch: u64) -> Vec<i32> {
    loader.epoch(epoch).flat_map(|batch| batch.unwrap().labels).collect()
}

#[test]
fn loader_batches() {
    let whole = loader(7, 3);
    let batches: Vec<Batch> = whole.epoch(0).map(Result::unwrap).collect();
    assert_eq!(whole.len(), 3);
    assert_eq!(batches.iter().map(|b| b.shape.clone()).collect::<Vec<_>>(), [[3, 2], [3, 2], [1, 2]]);
    assert_eq!(batches[1].inputs, [3.0, -3.0, 4.0, -4.0, 5.0, -5.0]);
    assert_eq!(batches[2].labels, [6]);

    let dropped = whole.clone().drop_last(true);
    assert_eq!((dropped.len(), labels(&dropped, 0)), (2, (0..6).collect()));
    let none = loader(2, 3).drop_last(true);
    assert!(none.is_empty() && none.epoch(0).next().is_none());
    // Larger than the set: one batch of all there is.
    assert_eq!(loader(2, usize::MAX).epoch(0).next().unwrap().unwrap().labels, [0, 1]);

    assert_message(DataLoader::new(Arc::new(Numbers(7)), 0), "batch size is 0");
    assert_message(DataLoader::new(Arc::new(Numbers(0)), 3), "empty");
    assert_message(DataLoader::new(Arc::new(Numbers(usize::MAX)), usize::MAX), "elements");
}

#[test]
fn shuffling_depends_on_seed_and_epoch_alone() {
    let shuffled = loader(1000, 32).shuffle(7);
    let first = labels(&shuffled, 0);
    let mut sorted = first.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>(), "each sample exactly once");
    assert_ne!(first, sorted);
    assert_ne!(first, labels(&shuffled, 1));
    assert_ne!(first, labels(&shuffled.clone().shuffle(8), 0));
    assert_eq!(first, labels(&shuffled.clone().prefetch(9), 0));
    assert_eq!(first, labels(&shuffled, 0));
    // Runs must stay repeatable from one release to the next; computed apart from this code.
    assert_eq!(loader(10, 1).shuffle(7).order(0), [0, 1, 2, 4, 9, 5, 8, 6, 3, 7]);
    assert_eq!(loader(10, 1).shuffle(7).order(1), [0, 1, 7, 6, 9, 5, 2, 4, 8, 3]);
}

#[test]
fn subset_takes_the_first() {
    let all: Arc<dyn Dataset> = Arc::new(Numbers(10));
    let four = Subset::take(all.clone(), 4);
    assert_eq!(four.len(), 4);
    assert_message(four.sample(4, &mut [0.0; 2]), "sample 4 is out of range");
    assert_eq!(labels(&DataLoader::new(Arc::new(four), 3).unwrap().shuffle(1), 0).len(), 4);
    assert_eq!(Subset::take(all.clone(), 99).len(), 10);
    assert!(DataLoader::new(Arc::new(Subset::take(all, 0)), 3).is_err());
}

#[test]
fn dropping_an_epoch_stops_its_thread() {
    let data: Arc<dyn Dataset> = Arc::new(Numbers(1_000_000));
    let loader = DataLoader::new(data.clone(), 2).unwrap();
    let mut epoch = loader.epoch(0);
    epoch.next().unwrap().unwrap();
    drop(epoch);
    drop(loader.epoch(1));
    // The thread holds the data set for as long as it lives.
    let deadline = Instant::now() + Duration::from_secs(20);
    while Arc::strong_count(&data) > 2 {
        assert!(Instant::now() < deadline, "the thread goes on");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn batches_arrive_while_every_rayon_thread_waits_for_them() {
    let counts = rayon::broadcast(|_| labels(&loader(100, 7), 0).len());
    assert!(counts.iter().all(|&count| count == 100));
}

/// Fails at sample 5 by an error, at sample 8 by a panic.
struct Faulty;

impl Dataset for Faulty {
    fn len(&self) -> usize {
        12
    }
    fn shape(&self) -> &[usize] {
        &[]
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn sample(&self, index: usize, _: &mut [f32]) -> Result<i32> {
        match index {
            5 => Err(Error::file("photo.jpg", "not a photo")),
            8 => panic!("sample {index} is cursed"),
            _ => Ok(0),
        }
    }
}

#[test]
fn errors_and_panics_arrive() {
    let mut epoch = DataLoader::new(Arc::new(Faulty), 4).unwrap().epoch(0);
    assert_eq!(epoch.next().unwrap().unwrap().shape, [4]);
    assert_message(epoch.next().unwrap(), "photo.jpg: not a photo");
    assert!(epoch.next().is_none(), "an epoch ends with its first error");

    let mut epoch = DataLoader::new(Arc::new(Faulty), 12).unwrap().epoch(0);
    assert_message(epoch.next().unwrap(), "photo.jpg");
    // A seed whose order meets the panic first.
    let single = DataLoader::new(Arc::new(Faulty), 1).unwrap();
    let order = (0..).map(|seed| single.clone().shuffle(seed)).find(|l| l.order(0)[0] == 8).unwrap();
    assert_message(order.epoch(0).next().unwrap(), "reading sample 8 panicked: sample 8 is cursed");
}

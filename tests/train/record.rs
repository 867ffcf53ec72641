use crate::{assert_refused, folder};
use kiln::train::{EpochRecord, read_metrics, write_metrics};
use std::fs;

fn record(epoch: u32) -> EpochRecord {
    EpochRecord {
        epoch,
        train_loss: 0.1 + 0.2,
        train_accuracy: 0.5,
        val_loss: 1e-300,
        val_accuracy: 1.0,
        learning_rate: 0.001,
        seconds: 12.5,
        images_per_second: 4000.0,
    }
}

#[test]
fn written_is_read() {
    let path = folder("metrics").join("metrics.csv");
    let records = [record(1), record(2)];
    write_metrics(&path, &records).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let names =
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds,images_per_second";
    assert_eq!(text.lines().next(), Some(names));
    assert_eq!(text.lines().count(), 3);
    assert_eq!(read_metrics(&path).unwrap(), records);
}

#[test]
fn bad_files() {
    let path = folder("bad_metrics").join("metrics.csv");
    assert_refused(read_metrics(&path), "metrics.csv");
    write_metrics(&path, &[record(1)]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("0.001", "slow")).unwrap();
    assert_refused(read_metrics(&path), "line: 2");
    fs::write(&path, text.replace("val_loss", "loss")).unwrap();
    assert_refused(read_metrics(&path), "val_loss");
}

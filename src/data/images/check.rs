//! Looks into every image that was found.

use super::listing::{Candidate, Listing, Records, Source, some};
use super::set::{Contents, Entry};
use super::{ImageSet, Opened, Skipped};
use crate::data::Split;
use crate::data::image::{decode_bytes, header};
use crate::data::loader::workers;
use crate::parallel;
use crate::{Error, Result};
use image::ImageFormat;
use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::sync::Arc;

/// Up to this many bytes of files are decoded in full.
const DECODED: u64 = 64 << 20;

/// What an image turned out to be.
struct Facts {
    width: u32,
    height: u32,
    grey: bool,
    /// The length and a hash of the content: equal for the same bytes, and for others about once in
    /// 2^64 pairs of the same length.
    key: (usize, u64),
    extension_lies: bool,
    animated: bool,
}

/// Checks all candidates on all threads and keeps what can be used.
pub(super) fn check(mut listing: Listing, root: &Path) -> Result<Opened> {
    let size = |candidate: &Candidate| match &candidate.source {
        Source::File(path) => fs::metadata(path).map_or(0, |metadata| metadata.len()),
        Source::Record { .. } => 0,
    };
    let whole = listing.images.iter().map(size).fold(0, u64::saturating_add) <= DECODED;
    let records = &listing.records;
    let all = || parallel::map(1, &listing.images, |image| examine(&image.source, records, whole));
    let facts: Vec<Result<Facts>> = workers()?.install(all);

    let mut found = Vec::new();
    for (candidate, facts) in std::mem::take(&mut listing.images).into_iter().zip(facts) {
        match facts {
            Ok(facts) => found.push((candidate, facts)),
            Err(error) => {
                let name = candidate.source.name(&listing.records);
                listing.skipped.push(Skipped { name, reason: reason(error) });
            }
        }
    }
    let mut sample = String::new();
    if let Some(first) = listing.skipped.first() {
        sample = format!(" ({} skipped, as {}: {})", listing.skipped.len(), first.name, first.reason);
    }
    keep_learnable(&mut listing, &mut found);
    match &listing.classes[..] {
        [] => return Err(Error::file(root, format!("no image to learn from was found{sample}"))),
        [only] => {
            let message = format!(
                "only one class, '{only}'{sample}: put the images of each class into a folder with the class's \
                 name, and give the folder that holds these folders"
            );
            return Err(Error::file(root, message));
        }
        _ => {}
    }
    warn(&mut listing, &found);

    let mut groups = HashMap::new();
    let (mut train, mut test, mut images) = (Vec::new(), Vec::new(), Vec::new());
    for (candidate, facts) in found {
        let part = if candidate.part == Split::Train { &mut train } else { &mut test };
        part.push(images.len());
        let group = *groups.entry(facts.key).or_insert(images.len());
        let Facts { width, height, grey, .. } = facts;
        images.push(Entry { source: candidate.source, label: candidate.label, group, width, height, grey });
    }
    let Listing { classes, records, skipped, warnings, .. } = listing;
    let all = Arc::new(Contents { classes, images, records });
    let part = |members| ImageSet { all: all.clone(), members, skipped: Vec::new(), warnings: Vec::new() };
    let test = (!test.is_empty()).then(|| part(test));
    Ok(Opened { train: ImageSet { skipped, warnings, ..part(train) }, test })
}

fn examine(source: &Source, records: &[Records], whole: bool) -> Result<Facts> {
    let bytes = source.bytes(records)?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    let key = (bytes.len(), hasher.finish());
    match source {
        Source::File(path) => {
            let header = header(&bytes, path)?;
            let mut grey = header.grey;
            if whole {
                let image = decode_bytes(&bytes, path)?;
                grey = image.pixels().all(|pixel| pixel.0.iter().all(|&value| value == pixel.0[0]));
            }
            let claimed = path.extension().and_then(ImageFormat::from_extension);
            let extension_lies = claimed.is_some_and(|claimed| claimed != header.format);
            Ok(Facts {
                width: header.width,
                height: header.height,
                grey,
                key,
                extension_lies,
                animated: header.animated,
            })
        }
        Source::Record { block, .. } => {
            let Some(&Records { width, height, channels, .. }) = records.get(*block) else {
                return Err(Error::op("image set", "there is no such record"));
            };
            let (width, height) = (width as u32, height as u32);
            Ok(Facts { width, height, grey: channels == 1, key, extension_lies: false, animated: false })
        }
    }
}

/// What is wrong, without the path.
pub(super) fn reason(error: Error) -> String {
    match error {
        Error::File { message, .. } => message,
        Error::Io { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

/// Leaves out classes without an image to learn from, and numbers the others anew.
fn keep_learnable(listing: &mut Listing, found: &mut Vec<(Candidate, Facts)>) {
    let mut used = vec![false; listing.classes.len()];
    for (candidate, _) in found.iter().filter(|(candidate, _)| candidate.part == Split::Train) {
        used[candidate.label] = true;
    }
    let mut next = 0..;
    let labels: Vec<Option<usize>> = used.iter().map(|&used| used.then(|| next.next()).flatten()).collect();
    let unused: Vec<_> = listing.classes.iter().zip(&used).filter(|(_, used)| !**used).collect();
    if !unused.is_empty() {
        let names = some(unused.iter().map(|(name, _)| format!("'{name}'")));
        listing.warnings.push(format!("left out, having no image to learn from: class {names}"));
    }
    found.retain_mut(|(candidate, _)| {
        let label = labels[candidate.label];
        candidate.label = label.unwrap_or_default();
        label.is_some()
    });
    let mut used = used.into_iter();
    listing.classes.retain(|_| used.next() == Some(true));
}

fn warn(listing: &mut Listing, found: &[(Candidate, Facts)]) {
    let name = |candidate: &Candidate| candidate.source.name(&listing.records);
    let all = |fits: fn(&Facts) -> bool| -> Vec<String> {
        found.iter().filter(|(_, facts)| fits(facts)).map(|(candidate, _)| name(candidate)).collect()
    };
    let (lying, animated) = (all(|facts| facts.extension_lies), all(|facts| facts.animated));
    let (mut first, mut leaks, mut torn, mut same) = (HashMap::new(), Vec::new(), Vec::new(), 0);
    for (candidate, facts) in found {
        let other = *first.entry(facts.key).or_insert(candidate);
        if std::ptr::eq(other, candidate) {
            continue;
        }
        same += 1;
        let pair = || format!("{} = {}", name(candidate), name(other));
        if other.part != candidate.part {
            leaks.push(pair());
        }
        if other.label != candidate.label {
            torn.push(pair());
        }
    }
    let mut say = |count: usize, what: &str, examples: Vec<String>| {
        if count > 0 {
            let examples = if examples.is_empty() { String::new() } else { format!(": {}", some(examples)) };
            listing.warnings.push(format!("{count} {what}{examples}"));
        }
    };
    say(lying.len(), "images whose name has the extension of another format", lying);
    say(animated.len(), "animations, of which only the first frame is used", animated);
    say(same, "images are byte for byte the same as another", Vec::new());
    say(leaks.len(), "images to judge by are also among those to learn from", leaks);
    say(torn.len(), "images have one label here and another one there", torn);
}

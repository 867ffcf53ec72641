//! The training loop.

use super::checkpoint::{Checkpoint, Progress, Sums};
use super::mix::mix;
use super::{EpochRecord, LearningRate, TrainOptions, find_learning_rate, predict};
use crate::data::{Batch, DataLoader, Dataset};
use crate::models::Classifier;
use crate::nn::Params;
use crate::nn::loss::{CrossEntropyOptions, cross_entropy_with};
use crate::optim::{AdamOptions, AdamW, OneCycle, Optimizer, Schedule, clip_grad_norm};
use crate::{DType, Error, Gradients, Result, Tensor, autocast, eval, no_grad};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What a [`Trainer`] tells while it trains; every method does nothing unless you write it.
pub trait Watch {
    /// Some updates were made: the images of this epoch so far, and the mean loss of the latest ones.
    fn images(&mut self, _epoch: u32, _images: usize, _loss: f64) {}

    /// An epoch is complete. Where it is the best so far, the parameters are those that were judged: this
    /// is the moment to save them.
    fn epoch(&mut self, _record: &EpochRecord, _best: bool) -> Result<()> {
        Ok(())
    }

    /// Something a user should know.
    fn note(&mut self, _text: &str) {}

    /// Whether to stop before the next update. The checkpoint is written and training can go on from it.
    fn stopped(&mut self) -> bool {
        false
    }
}

/// A watch that watches nothing.
impl Watch for () {}

/// What has not been read from the device yet of updates: the mean loss, the number of images that were
/// right, and of how many.
type Pending = Vec<(Tensor, Tensor, usize)>;

/// How many updates are given to the device before it is waited for.
const AHEAD: usize = 8;

/// Trains a classifier of images: AdamW, one cycle of the learning rate, and what [`TrainOptions`] asks
/// for. Results depend on the options, the data and the kind of device alone: a run that is stopped or
/// killed and goes on from its checkpoint ends with the same bits as one that was left alone.
pub struct Trainer<'a> {
    model: &'a dyn Classifier,
    params: &'a Params,
    options: TrainOptions,
    loader: DataLoader,
    validation: Arc<dyn Dataset>,
    loss: CrossEntropyOptions,
    optimizer: AdamW,
    /// The moving average of everything named, in that order.
    average: Option<Vec<Tensor>>,
    progress: Progress,
}

impl<'a> Trainer<'a> {
    /// A run over `train`, judged on `validation` after each epoch. Nothing is computed yet.
    ///
    /// An error where an option is out of range, a data set is empty, or the two differ in the shape of
    /// their samples or in their classes.
    pub fn new(
        model: &'a dyn Classifier,
        params: &'a Params,
        train: Arc<dyn Dataset>,
        validation: Arc<dyn Dataset>,
        options: TrainOptions,
    ) -> Result<Trainer<'a>> {
        options.check(train.classes().len())?;
        if train.shape() != validation.shape() || train.classes() != validation.classes() {
            let message = "the training and the validation images differ in shape or classes";
            return Err(Error::op("train", message));
        }
        let images = options.batch_size.saturating_mul(options.accumulate);
        // Batch norm may find one value a channel in a last batch of one image, and nothing to normalise.
        let alone = train.len() > 1 && train.len() % images == 1;
        let loader = DataLoader::new(train.clone(), images)?.shuffle(options.seed).drop_last(alone);
        let weight = options.class_weights.as_ref().map(|weights| {
            let weights: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
            Tensor::from_slice(&weights, weights.len(), params.engine())
        });
        let loss = CrossEntropyOptions {
            weight: weight.transpose()?,
            label_smoothing: options.label_smoothing,
            ..CrossEntropyOptions::default()
        };
        let optimizer = optimizer(model, params, &options, options.freeze > 0)?;
        let progress = Progress { pieces: options.accumulate, ..Progress::default() };
        Ok(Trainer { model, params, options, loader, validation, loss, optimizer, average: None, progress })
    }

    /// Goes on from the checkpoint of an earlier run with the same options and data. An error where the
    /// file cannot be read or does not fit the model; nothing has changed then.
    pub fn resume(&mut self, checkpoint: impl AsRef<Path>) -> Result<()> {
        let path = checkpoint.as_ref();
        let Checkpoint { progress, model, optimizer, average } = Checkpoint::load(path)?;
        let updates = self.loader.len();
        let whole = progress.batch <= updates
            && progress.step == progress.epoch as usize * updates + progress.batch
            && (1..).zip(&progress.history).all(|(epoch, record)| record.epoch == epoch)
            && progress.history.len() == progress.epoch as usize
            && progress.pieces >= self.options.accumulate;
        if progress.epoch > self.options.epochs || !whole {
            return Err(Error::file(path, "is of a run with other epochs, batches or images than this one"));
        }
        let frozen = progress.epoch < self.options.freeze;
        let mut restored = self::optimizer(self.model, self.params, &self.options, frozen)?;
        restored.load_state_dict(&optimizer, path)?;
        let current = self.params.state_dict()?;
        let average = average.map(|state| {
            self.params.load_state_dict(&state, path)?;
            Ok::<_, Error>(self.values())
        });
        let loaded = average.transpose().and_then(|average| {
            self.params.load_state_dict(&model, path)?;
            Ok(average)
        });
        match loaded {
            Ok(average) => self.average = average,
            Err(error) => {
                self.params.load_state_dict(&current, path)?;
                return Err(error);
            }
        }
        self.params.set_draws(progress.draws);
        (self.optimizer, self.progress) = (restored, progress);
        Ok(())
    }

    /// Trains until the last epoch, or until stopped. Returns what each complete epoch came to.
    ///
    /// An error where the loss is no longer finite, an image cannot be read, the device fails, or a file
    /// cannot be written. Out of memory is not one as long as smaller pieces of a batch fit.
    pub fn run(&mut self, watch: &mut dyn Watch) -> Result<Vec<EpochRecord>> {
        if self.progress.lr == 0.0 {
            self.progress.lr = match self.options.lr {
                LearningRate::Usual => 4e-3,
                LearningRate::Is(lr) => lr,
                LearningRate::Auto => {
                    let found = find_learning_rate(self.model, self.params, &self.loader, &self.loss)?;
                    watch.note(&format!("learning rate {:.2e}, found by a range test", found.suggestion));
                    found.suggestion
                }
            };
        }
        while self.progress.epoch < self.options.epochs && !self.out_of_patience() {
            if !self.epoch(watch)? {
                watch.note("stopped; the checkpoint holds what has been learned");
                break;
            }
            if self.out_of_patience() {
                watch.note("stopped early: no better result for a while");
            }
        }
        Ok(self.progress.history.clone())
    }

    /// Updates in an epoch.
    pub fn updates_per_epoch(&self) -> usize {
        self.loader.len()
    }

    /// The learning rate of every update so far.
    pub fn learning_rates(&self) -> &[f32] {
        &self.progress.learning_rates
    }

    /// The rest of an epoch; whether it came to its end.
    fn epoch(&mut self, watch: &mut dyn Watch) -> Result<bool> {
        let epoch = self.progress.epoch;
        let frozen = epoch < self.options.freeze;
        if self.progress.batch == 0 && epoch == self.options.freeze && epoch > 0 {
            watch.note("the whole network is trained from here on");
            self.optimizer = optimizer(self.model, self.params, &self.options, false)?;
        }
        let schedule = self.schedule(frozen)?;
        let first = if frozen { 0 } else { self.options.freeze as usize * self.loader.len() };
        let (mut pending, mut saved, mut clock) = (Pending::new(), Instant::now(), Instant::now());
        for batch in self.loader.epoch_from(epoch.into(), self.progress.batch) {
            let batch = batch?;
            let rate = schedule.lr_at(self.progress.step - first);
            self.optimizer.set_learning_rate(rate);
            let images = batch.labels.len();
            let (loss, right) = self.update(batch, frozen, watch)?;
            pending.push((loss, right, images));
            self.progress.sums.images += images;
            self.progress.learning_rates.push(rate as f32);
            self.progress.step += 1;
            self.progress.batch += 1;
            let stopped = watch.stopped();
            let due = saved.elapsed().as_secs_f64() >= self.options.checkpoint_seconds;
            let last = self.progress.batch == self.loader.len();
            if pending.len() == AHEAD || last || stopped || due {
                let loss = self.read(&mut pending)?;
                self.progress.sums.seconds += clock.elapsed().as_secs_f64();
                clock = Instant::now();
                watch.images(epoch + 1, self.progress.sums.images, loss);
            }
            // The end of an epoch saves too.
            if stopped || due && !last {
                self.save()?;
                saved = Instant::now();
            }
            if stopped {
                return Ok(false);
            }
        }
        self.judge(watch)?;
        Ok(true)
    }

    /// Evaluates the parameters, or their average, and closes the epoch.
    fn judge(&mut self, watch: &mut dyn Watch) -> Result<()> {
        let record = self.averaged(|run| {
            let outcome = predict(run.model, run.params, &run.validation, run.evaluation_batch())?;
            let (record, best) = run.record(outcome.accuracy(), outcome.loss());
            watch.epoch(&record, best)?;
            Ok(record)
        })?;
        let Progress { epoch, batch, sums, history, .. } = &mut self.progress;
        history.push(record);
        (*epoch, *batch, *sums) = (*epoch + 1, 0, Sums::default());
        self.save()
    }

    /// Does something while the parameters are their average, if there is one.
    fn averaged<T>(&mut self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let Some(average) = self.average.take() else { return work(self) };
        let current = self.values();
        let done = self.set(&average).and_then(|()| work(self));
        self.average = Some(average);
        self.set(&current)?;
        done
    }

    /// What the epoch came to, and whether it is the best one.
    fn record(&self, val_accuracy: f64, val_loss: f64) -> (EpochRecord, bool) {
        let sums = &self.progress.sums;
        let images = sums.images as f64;
        let record = EpochRecord {
            epoch: self.progress.epoch + 1,
            train_loss: sums.loss / images,
            train_accuracy: sums.right / images,
            val_loss,
            val_accuracy,
            learning_rate: self.optimizer.learning_rate(),
            seconds: sums.seconds,
            images_per_second: images / sums.seconds,
        };
        let best = self.best().is_none_or(|best| better(&record, best));
        (record, best)
    }

    /// The record of the best epoch so far.
    fn best(&self) -> Option<&EpochRecord> {
        self.progress.history.iter().reduce(|best, record| if better(record, best) { record } else { best })
    }

    fn out_of_patience(&self) -> bool {
        let since = self.best().map_or(0, |best| self.progress.epoch - best.epoch);
        self.options.patience.is_some_and(|patience| since >= patience.max(1))
    }

    fn schedule(&self, frozen: bool) -> Result<OneCycle> {
        let TrainOptions { epochs, freeze, .. } = self.options;
        // A network whose head has learned already needs smaller steps than its head did.
        let (epochs, lr) = match freeze {
            _ if frozen => (freeze, self.progress.lr),
            0 => (epochs, self.progress.lr),
            _ => (epochs - freeze, self.progress.lr / 4.0),
        };
        OneCycle::new(lr, epochs as usize * self.loader.len())
    }

    /// One update. Where memory runs out, the images pass in twice as many pieces from then on.
    fn update(&mut self, mut batch: Batch, frozen: bool, watch: &mut dyn Watch) -> Result<(Tensor, Tensor)> {
        let classes = self.loader.dataset().classes().len();
        let known = |label: &i32| usize::try_from(*label).is_ok_and(|label| label < classes);
        if let Some(label) = batch.labels.iter().find(|label| !known(label)) {
            return Err(Error::op("train", format!("a label is {label}, and there are {classes} classes")));
        }
        let targets = mix(&mut batch, classes, &self.options, self.progress.step);
        let draws = self.params.draws();
        let (loss, right) = loop {
            match self.attempt(&batch, targets.as_deref(), frozen) {
                Err(Error::OutOfMemory { .. }) if self.progress.pieces < batch.labels.len() => {
                    self.params.restore_buffers();
                    self.params.set_draws(draws);
                    self.progress.pieces *= 2;
                    let size = batch.labels.len().div_ceil(self.progress.pieces);
                    watch.note(&format!("out of memory: going on with {size} images at a time"));
                }
                other => break other?,
            }
        };
        self.progress.draws = self.params.draws();
        self.follow()?;
        Ok((loss, right))
    }

    /// The update itself: the mean loss and the number of images it got right.
    fn attempt(&mut self, batch: &Batch, targets: Option<&[f32]>, frozen: bool) -> Result<(Tensor, Tensor)> {
        let engine = self.params.engine();
        self.params.train();
        let (images, classes) = (batch.labels.len(), self.loader.dataset().classes().len());
        let piece = images.div_ceil(self.progress.pieces);
        let size = batch.inputs.len() / images;
        let mut sums: Option<(Gradients, Tensor, Tensor)> = None;
        for start in (0..images).step_by(piece) {
            let count = piece.min(images - start);
            let shape = [&[count], &batch.shape[1..]].concat();
            let input = Tensor::from_slice(&batch.inputs[start * size..][..count * size], shape, engine)?;
            let labels = Tensor::from_slice(&batch.labels[start..][..count], count, engine)?;
            let target = match targets {
                None => labels.clone(),
                Some(targets) => {
                    let targets = &targets[start * classes..][..count * classes];
                    Tensor::from_slice(targets, [count, classes], engine)?
                }
            };
            let forward = || {
                let logits = self.logits(&input, frozen)?;
                let loss = cross_entropy_with(&logits, &target, &self.loss)?;
                Ok::<_, Error>((logits, loss))
            };
            let (logits, mut loss) = if self.options.amp { autocast(forward) } else { forward() }?;
            if count < images {
                loss = loss.mul(count as f64 / images as f64)?;
            }
            let scaler = self.options.amp.then_some(self.progress.scaler);
            let gradients = scaler.map_or(Ok(loss.clone()), |scaler| scaler.scale(&loss))?.backward()?;
            let loss = loss.detach();
            let hits = || logits.argmax(1, false)?.eq(&labels)?.cast(DType::F32)?.sum(.., false);
            let right = no_grad(hits)?;
            // Computed here, so that the next piece finds the memory of this one's activations.
            gradients.compute([self.params.buffers(), vec![loss.clone(), right.clone()]].concat())?;
            sums = Some(match sums {
                None => (gradients, loss, right),
                Some((mut total, losses, hits)) => {
                    total.add(&gradients)?;
                    (total, losses.add(&loss)?, hits.add(&right)?)
                }
            });
        }
        let Some((mut gradients, loss, right)) = sums else {
            return Err(Error::op("train", "a batch without images"));
        };
        if self.options.amp && !self.progress.scaler.unscale(&mut gradients, self.params)? {
            return Ok((loss, right));
        }
        if let Some(norm) = self.options.clip_norm {
            clip_grad_norm(&mut gradients, self.params, norm)?;
        }
        self.optimizer.step(gradients)?;
        Ok((loss, right))
    }

    fn logits(&self, input: &Tensor, frozen: bool) -> Result<Tensor> {
        if !frozen {
            return self.model.forward(input);
        }
        // A frozen network's norms keep their statistics.
        self.params.eval();
        let features = no_grad(|| self.model.features(input));
        self.params.train();
        self.model.classify(&features?)
    }

    /// Moves the average towards the parameters.
    fn follow(&mut self) -> Result<()> {
        let Some(decay) = self.options.ema else { return Ok(()) };
        let values = self.values();
        let Some(average) = &self.average else {
            self.average = Some(values);
            return Ok(());
        };
        // The first values are soon forgotten.
        let step = self.progress.step as f64;
        let decay = decay.min((1.0 + step) / (10.0 + step));
        let moved = average.iter().zip(&values).map(|(old, new)| match new.dtype() {
            DType::F32 => no_grad(|| old.mul(decay)?.add(&new.detach().mul(1.0 - decay)?)),
            _ => Ok(new.clone()),
        });
        let moved = moved.collect::<Result<Vec<_>>>()?;
        eval(&moved)?;
        self.average = Some(moved);
        Ok(())
    }

    fn values(&self) -> Vec<Tensor> {
        self.params.named().iter().map(|(_, param)| param.get().detach()).collect()
    }

    fn set(&self, values: &[Tensor]) -> Result<()> {
        self.params.named().iter().zip(values).try_for_each(|((_, param), value)| param.set(value.clone()))
    }

    fn evaluation_batch(&self) -> usize {
        self.options.batch_size.div_ceil(self.progress.pieces.div_ceil(self.options.accumulate))
    }

    /// Waits for the updates on their way and returns the mean of their losses.
    fn read(&mut self, pending: &mut Pending) -> Result<f64> {
        eval(pending.iter().flat_map(|(loss, right, _)| [loss, right]))?;
        let (count, mut total) = (pending.len() as f64, 0.0);
        for (loss, right, images) in pending.drain(..) {
            let loss = loss.item()?;
            if !loss.is_finite() {
                let message = format!(
                    "the loss became {loss} after {} updates: try a smaller learning rate than {}",
                    self.progress.step, self.progress.lr
                );
                return Err(Error::op("train", message));
            }
            total += loss;
            self.progress.sums.loss += loss * images as f64;
            self.progress.sums.right += right.item()?;
        }
        Ok(total / count)
    }

    fn save(&mut self) -> Result<()> {
        let Some(path) = self.options.checkpoint.clone() else { return Ok(()) };
        let model = self.params.state_dict()?;
        let average =
            self.average.is_some().then(|| self.averaged(|run| run.params.state_dict())).transpose()?;
        let optimizer = self.optimizer.state_dict()?;
        Checkpoint { progress: self.progress.clone(), model, optimizer, average }.save(&path)
    }
}

/// More of the images right, or as many with a smaller loss.
fn better(a: &EpochRecord, b: &EpochRecord) -> bool {
    (a.val_accuracy, -a.val_loss) > (b.val_accuracy, -b.val_loss)
}

fn optimizer(model: &dyn Classifier, params: &Params, options: &TrainOptions, frozen: bool) -> Result<AdamW> {
    let adamw =
        AdamOptions { weight_decay: options.weight_decay, spare_vectors: true, ..AdamOptions::adamw() };
    let path = if frozen { params / model.head() } else { params.clone() };
    AdamW::new(&path, adamw)
}

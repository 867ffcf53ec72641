//! Kiln in a program that has a wgpu device of its own, for its graphics or its simulation.
//!
//!     cargo run --release --example embed_wgpu
//!
//! The program's compute shader swings 4096 pendulums for a second. A network that Kiln trains on the same
//! device and queue learns where each of them ends from where it was let go.
//!
//! A program of your own names the `wgpu` that Kiln builds on (30) in its Cargo.toml: with the same
//! version, its types and Kiln's are the same.

use anyhow::{Context, Result};
use clap::Parser;
use kiln::nn::{Linear, Module, Params, Reduction, Sequential, Tanh, mse_loss};
use kiln::optim::{Adam, AdamOptions, Optimizer};
use kiln::{Engine, Tensor, no_grad};
use std::sync::mpsc;
use wgpu::util::{BufferInitDescriptor, DeviceExt, DownloadBuffer};

/// Train a network on a wgpu device that the program made.
#[derive(Parser)]
struct Options {
    /// A part of the adapter's name [default: what wgpu takes for the fastest]
    #[arg(long)]
    adapter: Option<String>,
    /// Updates of the network
    #[arg(long, default_value_t = 500)]
    steps: usize,
}

const PENDULUMS: usize = 4096;

fn main() -> Result<()> {
    let options = Options::parse();
    let adapter = pollster::block_on(adapter(options.adapter.as_deref()))?;
    let info = adapter.get_info();
    // Kiln needs no feature and gets by with WebGPU's least limits, but a tensor can be no larger than a
    // binding, and faster kernels need more than the least: give it what the adapter has.
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("the program's own"),
        required_limits: adapter.limits(),
        ..Default::default()
    }))?;
    println!("{} ({:?})", info.name, info.backend);

    // From here on the device is shared. Both sides submit to the one queue, each when it wants to.
    let engine = Engine::from_wgpu(&info, device.clone(), queue.clone())?;
    let angles = Tensor::rand([PENDULUMS, 1], 0, &engine)?.mul(4.0)?.sub(2.0)?;
    let ends = swing(&device, &queue, &angles.to_vec()?)?;
    let ends = Tensor::from_vec(ends, [PENDULUMS, 1], &engine)?;

    let params = Params::new(&engine, 0);
    let network = Sequential::new()
        .add(Linear::new(&params / "fc1", 1, 32)?)
        .add(Tanh)
        .add(Linear::new(&params / "fc2", 32, 32)?)
        .add(Tanh)
        .add(Linear::new(&params / "fc3", 32, 1)?);
    let mut optimizer = Adam::new(&params, AdamOptions { lr: 5e-3, ..Default::default() })?;
    for step in 1..=options.steps {
        let loss = mse_loss(&network.forward(&angles)?, &ends, Reduction::Mean)?;
        optimizer.step(loss.backward()?)?;
        if step.is_power_of_two() || step == options.steps {
            println!("step {step}: mean error {:.4} rad", loss.item()?.sqrt());
        }
    }

    // The program's shader again, on pendulums that the network has not seen.
    let others = [-1.9f32, -0.7, 0.3, 1.1, 1.8];
    let simulated = swing(&device, &queue, &others)?;
    let input = Tensor::from_slice(&others, [others.len(), 1], &engine)?;
    let learned = no_grad(|| network.forward(&input))?.to_vec::<f32>()?;
    for ((start, simulated), learned) in others.iter().zip(simulated).zip(learned) {
        println!(
            "let go at {start:5.2} rad: at {simulated:6.3} after a second, {learned:6.3} by the network"
        );
    }
    Ok(())
}

async fn adapter(name: Option<&str>) -> Result<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let Some(name) = name else {
        let power_preference = wgpu::PowerPreference::HighPerformance;
        let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        return instance.request_adapter(&options).await.context("wgpu finds no adapter");
    };
    let mut found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let at = found.iter().position(|adapter| adapter.get_info().name.contains(name));
    Ok(found.swap_remove(at.with_context(|| format!("no adapter is called {name:?}"))?))
}

/// The angles of pendulums a second after they are let go at `angles`: a compute pass with nothing of Kiln.
fn swing(device: &wgpu::Device, queue: &wgpu::Queue, angles: &[f32]) -> Result<Vec<f32>> {
    let states: Vec<[f32; 2]> = angles.iter().map(|&angle| [angle, 0.0]).collect();
    let buffer = device.create_buffer_init(&BufferInitDescriptor {
        label: Some("pendulums"),
        contents: bytemuck::cast_slice(&states),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("swing"),
        layout: None,
        module: &device.create_shader_module(wgpu::include_wgsl!("embed_wgpu.wgsl")),
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(states.len().div_ceil(64) as u32, 1, 1);
    drop(pass);
    queue.submit([encoder.finish()]);
    let (sender, receiver) = mpsc::channel();
    DownloadBuffer::read_buffer(device, queue, &buffer.slice(..), move |read| {
        // Where nobody waits any more, nobody misses it.
        let _ = sender.send(read);
    });
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let bytes = receiver.recv()??;
    Ok(bytes.chunks_exact(8).map(|state| bytemuck::pod_read_unaligned(&state[..4])).collect())
}

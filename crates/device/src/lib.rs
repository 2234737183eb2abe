//! Buffers, WGSL kernels, programs and timing on wgpu: what Kiln runs on, usable alone by someone who only wants to
//! run kernels.
//!
//! A [`Device`] hands out pooled [`Buffer`]s. A [`Source`] is a kernel's text, specialised by name. A [`Step`] is a
//! dispatch of it, and a [`Program`] is a list of steps that is recorded once and run many times.
//!
//! ```
//! use kiln_device::{Device, Params, Slice, Source, Launch, Step};
//!
//! const DOUBLE: &str = "
//!     struct Sizes { n: u32 }
//!     var<immediate> sizes: Sizes;
//!     @group(0) @binding(0) var<storage, read_write> x: array<f32>;
//!     @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
//!         if id.x < sizes.n { x[id.x] *= 2.0; }
//!     }";
//!
//! let device = Device::open()?;
//! let x = device.upload(&[1f32, 2.0, 3.0].map(f32::to_le_bytes).concat(), "x")?;
//! let launch = Launch::new(Source::user("double", DOUBLE), Params::new().u32(3), [1, 1, 1]);
//! device.run(vec![Step::new(&device, &launch, &[("x", &x)])?])?;
//! let bytes = device.read(&[Slice::from(&x)])?.remove(0);
//! assert_eq!(bytes, [2f32, 4.0, 6.0].map(f32::to_le_bytes).concat());
//! # Ok::<(), kiln_device::Error>(())
//! ```

mod adapter;
mod bind;
mod buffer;
mod caps;
mod counters;
mod device;
mod disk;
mod environment;
mod error;
mod items;
mod kernel;
pub mod kernels;
mod ledger;
mod options;
mod pace;
pub mod philox;
mod pool;
mod profile;
mod program;
mod readback;
mod reflect;
mod replay;
mod selftest;
mod source;
mod trial;
mod tune;
mod wgsl;

pub use adapter::{AdapterInfo, AdapterKind, BackendKind};
pub use buffer::{Buffer, Slice};
pub use caps::{Caps, CoopShape};
pub use counters::Counters;
pub use device::Device;
pub use disk::cache_dir;
pub use environment::switch;
pub use error::{Error, Result};
pub use kernel::{BindingInfo, Kernel};
pub use options::Options;
pub use profile::{Clock, Event, HostEvent, Profile, Span};
pub use program::{Copy, Launch, Params, Step, fold_groups};
pub use readback::Pending;
pub use replay::Program;
pub use selftest::Verdict;
pub use source::Source;
pub use trial::{Candidate, Family, Fill, Input, Trial, Want};
pub use tune::{Progress, Tuner, Winner};
pub use wgpu;
pub use wgsl::{Dispatch, Entry, Resource, ResourceKind, Wgsl};

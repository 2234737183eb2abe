//! Opening devices, buffers and their pool, transfers, and what is said when something is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../../tests/support/program.rs"]
mod program;

use kiln_device::{AdapterKind, Caps, Device, Error, Launch, Options, Params, Slice, Source, Step, wgpu};
use program::this_program;

const DOUBLE: &str = "
struct Sizes { n: u32 }
var<immediate> sizes: Sizes;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < sizes.n { out[id.x] = 2.0 * x[id.x]; }
}";

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

fn double(device: &Device, values: &[f32]) -> Result<Vec<f32>, Error> {
    let x = device.upload(&bytes(values), "x")?;
    let out = device.zeroed(x.bytes(), "out")?;
    let n = values.len() as u32;
    let launch = Launch::new(Source::new("double", DOUBLE), Params::new().u32(n), [n.div_ceil(64), 1, 1]);
    device.run(vec![Step::new(device, &launch, &[("x", &x), ("out", &out)])?])?;
    Ok(floats(&device.read(&[Slice::from(&out)])?[0]))
}

#[test]
fn a_kernel_runs_in_every_mode() -> Result<(), Error> {
    let values: Vec<f32> = (0..1000).map(|v| v as f32).collect();
    let want: Vec<f32> = values.iter().map(|v| 2.0 * v).collect();
    for (immediates, checked) in [(true, false), (false, false), (true, true), (false, true)] {
        let device = Device::open_with(&Options { immediates, checked, ..Options::from_env()? })?;
        assert_eq!(device.caps().max_immediates > 0, immediates, "{:?}", device.caps());
        assert_eq!(double(&device, &values)?, want, "immediates {immediates}, checked {checked}");
    }
    Ok(())
}

#[test]
fn the_pool_hands_the_same_memory_out_again() -> Result<(), Error> {
    let device = Device::open()?;
    let first = device.upload(&bytes(&[1.0; 1000]), "first")?;
    let (id, before) = (first.id(), device.counters());
    assert!(before.live_bytes >= 4000 && before.live_bytes < 4400 && before.idle_bytes == 0, "{before:?}");
    let clone = first.clone();
    drop(first);
    assert_eq!(device.counters().live_bytes, before.live_bytes, "a clone is an owner");
    drop(clone);
    assert_eq!((device.counters().live_bytes, device.counters().idle_bytes), (0, before.live_bytes));
    let second = device.zeroed(3999, "second")?;
    assert_eq!((second.id(), second.bytes(), device.counters().buffers), (id, 3999, before.buffers));
    assert_eq!(device.read(&[Slice::from(&second)])?[0], vec![0; 3999], "zeroed clears what was there");
    let third = device.zeroed(4000, "third")?;
    assert_ne!(third.id(), id);
    assert_eq!(device.read(&[Slice::from(&third)])?[0], vec![0; 4000], "fresh memory is zero");
    let peak = device.counters().peak_bytes;
    drop((second, third));
    assert_eq!(device.counters().peak_bytes, peak);
    device.reset_peak();
    device.trim();
    assert_eq!((device.counters().peak_bytes, device.counters().idle_bytes), (0, 0));
    Ok(())
}

#[test]
fn work_in_flight_keeps_what_it_reads() -> Result<(), Error> {
    // A buffer is dropped and its memory written again while the device may still be reading it.
    let device = Device::open()?;
    let values = vec![1.0; 1 << 16];
    let mut sums = Vec::new();
    for round in 0..20 {
        let x = device.upload(&bytes(&vec![round as f32; values.len()]), "x")?;
        let out = device.alloc(x.bytes(), "out")?;
        let n = values.len() as u32;
        let launch = Launch::new(Source::new("double", DOUBLE), Params::new().u32(n), [n / 64, 1, 1]);
        device.run(vec![Step::new(&device, &launch, &[("x", &x), ("out", &out)])?])?;
        sums.push(device.read_async(&[Slice::from(&out)])?);
    }
    for (round, pending) in sums.into_iter().enumerate() {
        assert!(floats(&pending.wait()?[0]).iter().all(|&v| v == 2.0 * round as f32), "round {round}");
    }
    Ok(())
}

#[test]
fn the_budget_is_an_error_and_not_a_crash() -> Result<(), Error> {
    let device = Device::open_with(&Options { budget: Some(1 << 20), ..Options::from_env()? })?;
    let half = device.alloc(1 << 19, "half")?;
    let error = device.alloc(3 << 18, "too much").expect_err("past the budget");
    assert!(matches!(&error, Error::Budget { label, live: 524_288, budget: 1_048_576, .. } if label == "too much"));
    assert!(error.to_string().contains("too much needs"), "{error}");
    drop(half);
    assert_eq!(device.counters().idle_bytes, 1 << 19);
    let most = device.alloc(3 << 18, "most")?;
    assert_eq!((device.counters().idle_bytes, most.bytes()), (0, 3 << 18), "idle memory made room");
    let limit = device.caps().max_buffer;
    for bytes in [limit + 1, u64::MAX, u64::MAX - 16] {
        assert!(matches!(device.alloc(bytes, "huge"), Err(Error::Limit { what: "bytes in a buffer", .. })));
    }
    Ok(())
}

#[test]
fn any_length_goes_up_and_comes_back() -> Result<(), Error> {
    let device = Device::open()?;
    for len in [0_usize, 1, 3, 4, 5, 15, 16, 17, 255, 4096, 100_001] {
        let data: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        let buffer = device.upload(&data, "data")?;
        assert_eq!(device.read(&[Slice::from(&buffer)])?[0], data, "{len} bytes");
    }
    let buffer = device.upload(&[0; 10], "ten")?;
    device.write(&buffer, 4, &[7; 6])?;
    let part = Slice { buffer: buffer.clone(), offset: 4, bytes: 3 };
    let parts = device.read(&[part, Slice::from(&buffer)])?;
    assert_eq!(parts, [vec![7; 3], vec![0, 0, 0, 0, 7, 7, 7, 7, 7, 7]]);
    for (offset, len) in [(0, 3), (2, 4), (8, 100), (u64::MAX, 4)] {
        let error = device.write(&buffer, offset, &vec![1; len]).expect_err("a crooked write");
        assert!(matches!(error, Error::Validation(_)), "{offset}+{len}: {error}");
    }
    let past = Slice { buffer: buffer.clone(), offset: 8, bytes: 100 };
    assert!(matches!(device.read(&[past]), Err(Error::Validation(_))));
    let crooked = Slice { buffer, offset: 2, bytes: 4 };
    assert!(matches!(device.read(&[crooked]), Err(Error::Validation(_))));
    Ok(())
}

#[test]
fn reads_can_be_awaited_asked_for_and_dropped() -> Result<(), Error> {
    let device = Device::open()?;
    let buffer = device.upload(&[5; 64], "fives")?;
    assert_eq!(pollster::block_on(device.read_async(&[Slice::from(&buffer)])?)?, [vec![5; 64]]);
    assert_eq!(pollster::block_on(device.read_async(&[])?)?, Vec::<Vec<u8>>::new());
    let mut pending = device.read_async(&[Slice::from(&buffer)])?;
    let got = loop {
        if let Some(got) = pending.try_get() {
            break got?;
        }
    };
    assert_eq!(got, [vec![5; 64]]);
    assert!(matches!(pending.try_get(), Some(Err(Error::Validation(_)))), "given out once");
    let staging = device.counters().buffers;
    for _ in 0..10 {
        drop(device.read_async(&[Slice::from(&buffer)])?);
        assert_eq!(device.read(&[Slice::from(&buffer)])?, [vec![5; 64]]);
    }
    assert_eq!(device.counters().buffers, staging, "staging buffers go round");
    assert_eq!(device.counters().downloaded_bytes, 12 * 64);
    Ok(())
}

#[test]
fn no_adapter_says_what_to_do() {
    let options = Options { adapter: Some("no such adapter".into()), ..Options::default() };
    let error = Device::open_with(&options).expect_err("there is no such adapter");
    assert!(matches!(error, Error::NoAdapter { .. }));
    let text = error.to_string();
    assert!(text.contains("no such adapter") && text.contains("takes a part of one of these names"), "{text}");
    for adapter in Device::adapters() {
        assert!(text.contains(&adapter.name), "{text} should list {adapter}");
    }
}

#[test]
fn options_lower_the_limits() -> Result<(), Error> {
    let options = Options { max_binding: Some(1 << 20), max_storage_buffers: Some(5), ..Options::from_env()? };
    let caps = Device::open_with(&options)?.caps().clone();
    assert_eq!((caps.max_binding, caps.max_storage_buffers), (1 << 20, 5));
    assert!(caps.max_groups >= 65_535 && caps.max_invocations >= 256 && caps.workgroup_memory >= 16_384, "{caps:?}");
    assert!(caps.max_immediates == 0 || (caps.max_immediates >= 4 && caps.max_immediates <= 128), "{caps:?}");
    Ok(())
}

#[test]
fn a_device_of_the_host_can_be_adopted() -> Result<(), Error> {
    let instance = wgpu::Instance::default();
    let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all())).remove(0);
    let (raw, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let device = Device::adopt(adapter, raw.clone(), queue)?;
    // The host asked for nothing: no immediates, no subgroups, the default limits.
    let caps = device.caps();
    assert_eq!((caps.max_immediates, caps.subgroup, caps.max_storage_buffers), (0, None, 8));
    assert_eq!(double(&device, &[1.0, 2.0])?, [2.0, 4.0]);
    assert_eq!(device.raw(), &raw);
    device.mark_lost("the host said so");
    assert_eq!(device.wait(), Err(Error::Lost("the host said so".into())));
    Ok(())
}

/// On Metal 29 buffers of all kinds can be bound, the one with the sizes among them.
#[test]
fn the_sizes_are_a_buffer_too() -> Result<(), Error> {
    let instance = wgpu::Instance::default();
    let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all())).remove(0);
    let required_limits = wgpu::Limits {
        max_storage_buffers_per_shader_stage: 29,
        max_buffers_and_acceleration_structures_per_shader_stage: 29,
        ..wgpu::Limits::default()
    };
    let wanted = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (raw, queue) = pollster::block_on(adapter.request_device(&wanted)).unwrap();
    let device = Device::adopt(adapter, raw, queue)?;
    let most = device.caps().max_storage_buffers;
    assert_eq!(most, 28);
    let kernel = |count: u32| {
        let bound = (0..count).map(|i| format!("@group(0) @binding({i}) var<storage, read_write> x{i}: array<f32>;"));
        let stores: String = (0..count).map(|i| format!("x{i}[0] = f32(sizes.n);")).collect();
        let text = format!(
            "struct Sizes {{ n: u32 }} var<immediate> sizes: Sizes; {}
             @compute @workgroup_size(1) fn main() {{ {stores} }}",
            bound.collect::<String>()
        );
        device.kernel(&Source::user("many", text))
    };
    assert!(kernel(most)?.uniform());
    assert!(matches!(kernel(most + 1), Err(Error::Limit { what: "storage buffers", needs: 29, has: 28, .. })));
    Ok(())
}

#[test]
fn what_kiln_wants_can_be_asked_for_and_options_hold_for_an_adopted_device() -> Result<(), Error> {
    let instance = wgpu::Instance::default();
    let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all())).remove(0);
    let (required_features, required_limits) = Device::wants(&adapter);
    let wanted = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
    let (raw, queue) = pollster::block_on(adapter.request_device(&wanted)).unwrap();
    let options = Options { budget: Some(1 << 20), subgroups: false, ..Options::default() };
    let device = Device::adopt_with(adapter.clone(), raw.clone(), queue.clone(), &options)?;
    assert_eq!((device.budget(), device.caps().subgroup), (1 << 20, None));
    assert!(matches!(device.alloc(2 << 20, "x"), Err(Error::Budget { .. })));
    // all that Kiln itself would ask for, but for what is experimental
    let (adopted, own) = (Device::adopt(adapter, raw, queue)?, Device::open_with(&Options::default())?);
    let all = Caps { coop: Vec::new(), checked: adopted.caps().checked, ..own.caps().clone() };
    assert!(adopted.caps().name != all.name || *adopted.caps() == all, "{:?}", adopted.caps());
    assert_eq!(double(&adopted, &[1.0, 2.0])?, [2.0, 4.0]);
    Ok(())
}

#[test]
fn a_lost_device_is_an_error_everywhere() -> Result<(), Error> {
    let device = Device::open()?;
    let buffer = device.upload(&[1; 16], "x")?;
    device.raw().destroy();
    let start = std::time::Instant::now();
    // The news may take one poll to arrive.
    let _ = device.wait();
    let lost = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Lost(_))), "{result:?}");
    lost(device.wait());
    lost(device.alloc(16, "y").map(drop));
    lost(device.write(&buffer, 0, &[0; 4]));
    lost(device.read(&[Slice::from(&buffer)]).map(drop));
    lost(device.kernel(&Source::new("double", DOUBLE)).map(drop));
    lost(device.run(Vec::new()));
    assert!(start.elapsed().as_secs_f64() < 1.0);
    Ok(())
}

#[test]
fn checked_kernels_stay_within_their_buffers() -> Result<(), Error> {
    let wild = "
        @group(0) @binding(0) var<storage, read_write> x: array<u32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            x[id.x * 1000u] = x[id.x + 100000u] + 1u;
        }";
    let device = Device::open()?;
    let (x, guard) = (device.zeroed(64, "x")?, device.zeroed(1 << 20, "guard")?);
    let launch = Launch::new(Source::user("wild", wild), Params::new(), [4, 1, 1]);
    device.run(vec![Step::new(&device, &launch, &[("x", &x)])?])?;
    assert!(device.read(&[Slice::from(&guard)])?[0].iter().all(|&byte| byte == 0));
    assert!(device.wait().is_ok());
    Ok(())
}

/// What the debug switches are tried on, in a process of its own: they are read from its environment.
#[test]
#[ignore = "run by `debug_switches`"]
fn child() -> Result<(), Error> {
    let device = Device::open()?;
    assert!(device.caps().checked);
    assert_eq!(double(&device, &[1.0, 2.0])?, [2.0, 4.0]);
    Ok(())
}

#[test]
#[ignore = "run by `an_adopted_device_heeds_the_switches`"]
fn adopted() -> Result<(), Error> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
    let device = Device::adopt(adapter, device, queue)?;
    assert_eq!((device.caps().kind, device.caps().checked), (AdapterKind::Virtual, true));
    Ok(())
}

#[test]
fn an_adopted_device_heeds_the_switches() {
    let mut child = this_program();
    child.args(["--exact", "adopted", "--ignored"]).env("KILN_KIND", "virtual").env("KILN_CHECKED", "1");
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn debug_switches() {
    let dir = std::env::temp_dir().join(format!("kiln-switches-{}", std::process::id()));
    let run = |extra: &[(&str, &str)]| {
        this_program()
            .args(["--exact", "child", "--ignored"])
            .env("KILN_CHECKED", "1")
            .env("KILN_KERNELS", dir.join("kernels"))
            .env("KILN_CACHE_DIR", dir.join("cache"))
            .env("KILN_PROFILE", dir.join("trace.json"))
            .envs(extra.iter().copied())
            .output()
            .unwrap()
    };
    let files = |sub: &str| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir.join(sub)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    for _ in 0..2 {
        let output = run(&[]);
        assert!(output.status.success(), "{output:?}");
    }
    let kernels = files("kernels");
    assert_eq!(kernels.len(), 1);
    assert!(kernels[0].file_name().unwrap().to_str().unwrap().starts_with("double."));
    assert!(std::fs::read_to_string(&kernels[0]).unwrap().contains("out[id.x] = 2.0 * x[id.x];"));
    assert!(std::fs::read_to_string(dir.join("trace.json")).unwrap().contains("\"double\""));
    if Device::open().unwrap().raw().features().contains(wgpu::Features::PIPELINE_CACHE) {
        let cache = files("cache");
        assert_eq!(cache.len(), 1, "one file and no temporary: {cache:?}");
        // A damaged cache is not used, and not fatal.
        std::fs::write(&cache[0], b"KILNPC01 and then rubbish").unwrap();
        assert!(run(&[]).status.success());
    }
    for (name, value, part) in [("KILN_ADAPTER", "nobody", "nobody"), ("KILN_BACKEND", "vulcan", "KILN_BACKEND=vulcan")]
    {
        let output = run(&[(name, value)]);
        assert!(!output.status.success());
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("NoAdapter") && text.contains(part), "{text}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
